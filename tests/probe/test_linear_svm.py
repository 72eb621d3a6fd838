"""scikit-learn's contract, and LinearSVC's answers."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator

from exemplar.probe.linear_svm import LinearSVM


def test_linear_svm_is_a_scikit_learn_classifier() -> None:
    """It passes the checks that scikit-learn asks of every estimator."""
    check_estimator(LinearSVM(), on_skip=None)


@pytest.mark.parametrize("classes", [2, 3])
def test_linear_svm_takes_linear_svcs_place(classes: int) -> None:
    """Same attributes, same decision values, same cross-validated scores, for two classes and for more."""
    labels = torch.arange(120) % classes
    noise = torch.randn(120, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = noise + 0.3 * torch.nn.functional.one_hot(labels, 30)
    X, y = features.numpy(), np.array(["ant", "bee", "cat"])[labels]
    ours, theirs = LinearSVM(C=0.1), LinearSVC(C=0.1, tol=1e-8, max_iter=1_000_000)
    assert cross_val_score(ours, X, y).tolist() == cross_val_score(theirs, X, y).tolist()
    ours.fit(X, y), theirs.fit(X, y)
    for attribute in ("coef_", "intercept_"):
        np.testing.assert_allclose(getattr(ours, attribute), getattr(theirs, attribute), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-3, atol=1e-4)
    assert ours.predict(X).tolist() == theirs.predict(X).tolist()


def test_linear_svm_speaks_as_scikit_learn_does() -> None:
    """Its callers expect ValueError, with the same line."""
    with pytest.raises(ValueError, match=r"^C = -1\.0, expected a finite number above 0$"):
        LinearSVM(C=-1.0).fit(np.eye(4), [0, 1, 0, 1])
