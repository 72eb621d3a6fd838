"""The solver of `svm.py` behind scikit-learn's interface.

A module of its own because the pipeline needs the solver only: importing scikit-learn takes longer than many a fit.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from exemplar.errors import UserError
from exemplar.probe.svm import fit_path

Unchecked = Any  # an estimator is handed anything, and `fit` or `validate_data` says what is wrong with it


class LinearSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """`fit_path` for one C as a scikit-learn classifier; parameters and attributes as in its LinearSVC."""

    def __init__(self, C: Unchecked = 1.0, *, intercept_scaling: Unchecked = 1.0, tol: Unchecked = 1e-8) -> None:
        self.C = C
        self.intercept_scaling = intercept_scaling
        self.tol = tol

    def fit(self, X: Unchecked, y: Unchecked) -> "LinearSVM":
        """Fit one SVM per class, or a single one where there are two classes."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C", force_writeable=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        try:
            path = fit_path(
                torch.from_numpy(X),
                torch.from_numpy(labels),
                classes=len(self.classes_),
                C_values=[float(self.C)],
                intercept_scaling=float(self.intercept_scaling),
                tolerance=float(self.tol),
            )
        except UserError as error:
            raise ValueError(str(error)) from error
        weights = path[0, -1:] if len(self.classes_) == 2 else path[0]
        self.coef_, self.intercept_ = weights[:, :-1].numpy(), self.intercept_scaling * weights[:, -1].numpy()
        return self

    def decision_function(self, X: Unchecked) -> Float[np.ndarray, "..."]:
        """Decision values [n classes], or [n] where there are two classes: those of the second."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        values: np.ndarray = X @ self.coef_.T + self.intercept_
        return values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: Unchecked) -> np.ndarray:
        """Predict the class of each sample."""
        values = self.decision_function(X)
        chosen: np.ndarray = self.classes_[values.argmax(1) if values.ndim == 2 else (values > 0).astype(int)]
        return chosen
