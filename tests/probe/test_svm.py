"""The SVM solver against liblinear, and against facts that hold for every such SVM."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int64
from sklearn.svm import LinearSVC
from torch import Tensor

from exemplar.errors import UserError
from exemplar.probe import svm
from exemplar.probe.svm import PROBLEMS_AT_ONCE, decide, fit_path

FEW, SQUARE, MANY = (40, 90), (50, 50), (300, 20)  # samples, features


def draw(
    shape: tuple[int, int], *, classes: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"]]:
    """Features as rectified maps have them, far from the origin and correlated, and classes that overlap."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(shape[0]) % classes
    means = torch.randn(classes, shape[1], generator=generator, dtype=torch.float64)
    common = torch.randn(shape[0], 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (0.3 * means[labels] + common + noise + 1).clamp_min(0).to(dtype), labels


def objectives(weights: Tensor, features: Tensor, labels: Tensor, *, C: float, scaling: float) -> np.ndarray:
    """The objective of liblinear for each class, written out in NumPy."""
    extended = np.hstack([features.double().numpy(), np.full((len(features), 1), scaling)])
    signs = np.where(np.arange(len(weights)) == labels.numpy()[:, None], 1, -1)
    violations = np.maximum(0, 1 - signs * (extended @ weights.double().numpy().T))
    return (weights.double().numpy() ** 2).sum(1) / 2 + C * (violations**2).sum(0)


def liblinear(features: Tensor, labels: Tensor, *, C: float, scaling: float) -> Float[Tensor, "classes d+1"]:
    """The weights that scikit-learn's LinearSVC finds when it may take its time."""
    peer = LinearSVC(C=C, dual=False, tol=1e-10, intercept_scaling=scaling, max_iter=100_000)
    peer.fit(features.double().numpy(), labels.numpy())
    return torch.from_numpy(np.hstack([peer.coef_, peer.intercept_[:, None] / scaling]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scaling", [1.0, 5.0])
@pytest.mark.parametrize("shape", [FEW, SQUARE, MANY])
def test_the_optimum_is_liblinears(shape: tuple[int, int], scaling: float, dtype: torch.dtype) -> None:
    """Objectives agree to a millionth and better, and so do decisions, for every class and C."""
    features, labels = draw(shape, dtype=dtype)
    C_values = [1e-3, 0.1, 10.0]
    found = fit_path(features, labels, classes=3, C_values=C_values, intercept_scaling=scaling, tolerance=1e-10)
    assert found.dtype == dtype
    for weights, C in zip(found, C_values, strict=True):
        peer = liblinear(features, labels, C=C, scaling=scaling)
        ours, theirs = (objectives(each, features, labels, C=C, scaling=scaling) for each in (weights, peer))
        np.testing.assert_allclose(ours, theirs, rtol=1e-7)
        new, _ = draw((500, shape[1]), dtype=dtype)
        torch.testing.assert_close(
            decide(weights, new, scaling).double(), decide(peer, new.double(), scaling), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("tolerance", [1e-1, 1e-4, 1e-12])
@pytest.mark.parametrize("shape", [FEW, SQUARE, MANY])
def test_the_tolerance_bounds_the_distance_from_the_optimum(shape: tuple[int, int], tolerance: float) -> None:
    """A looser tolerance may save work, but never costs more than it says."""
    features, labels = draw(shape)
    (best,), (found,) = (
        fit_path(features, labels, classes=3, C_values=[0.5], intercept_scaling=1.0, tolerance=each)
        for each in (1e-14, tolerance)
    )
    least, reached = (objectives(each, features, labels, C=0.5, scaling=1.0) for each in (best, found))
    assert (reached - least <= tolerance * reached + 1e-13).all()


def test_a_path_holds_what_each_value_would_give_alone() -> None:
    """The values of C may come in any order and any number; each gets its own optimum, at its own place."""
    features, labels = draw(FEW)
    C_values = np.random.default_rng(0).permutation(np.geomspace(1e-4, 1e2, PROBLEMS_AT_ONCE // 2)).tolist()
    path = fit_path(features, labels, classes=3, C_values=C_values, intercept_scaling=1.0, tolerance=1e-14)
    assert path.shape == (len(C_values), 3, features.shape[1] + 1)
    for index in (0, 7, len(C_values) - 1):
        alone = fit_path(
            features, labels, classes=3, C_values=[C_values[index]], intercept_scaling=1.0, tolerance=1e-14
        )
        torch.testing.assert_close(path[index], alone[0], rtol=1e-5, atol=1e-6)


def test_two_classes_mirror_each_other() -> None:
    """One against the other is the other against the one with the sign changed."""
    features, labels = draw(FEW, classes=2)
    (weights,) = fit_path(features, labels, classes=2, C_values=[0.3], intercept_scaling=1.0, tolerance=1e-14)
    torch.testing.assert_close(weights[0], -weights[1])


@pytest.mark.parametrize("shape", [FEW, MANY])
def test_every_sample_twice_is_twice_the_cost(shape: tuple[int, int]) -> None:
    """Repeated samples leave the samples' span short of dimensions, which changes nothing."""
    features, labels = draw(shape)
    (twice,) = fit_path(
        features.repeat(2, 1), labels.repeat(2), classes=3, C_values=[0.1], intercept_scaling=1.0, tolerance=1e-14
    )
    (doubled,) = fit_path(features, labels, classes=3, C_values=[0.2], intercept_scaling=1.0, tolerance=1e-14)
    torch.testing.assert_close(twice, doubled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [FEW, MANY])
def test_rotated_features_give_rotated_weights(shape: tuple[int, int]) -> None:
    """Decisions do not depend on the axes that features are written in."""
    features, labels = draw(shape)
    axes = torch.linalg.qr(torch.randn(shape[1], shape[1], generator=torch.Generator().manual_seed(1)).double())[0]
    (plain,), (rotated,) = (
        fit_path(each, labels, classes=3, C_values=[0.1], intercept_scaling=1.0, tolerance=1e-14)
        for each in (features, features @ axes)
    )
    torch.testing.assert_close(plain[:, :-1] @ axes, rotated[:, :-1], rtol=1e-5, atol=1e-6)


def test_labels_that_mean_nothing_are_learned_by_heart_where_c_is_large() -> None:
    """As many features as samples, random labels, C = 10,000: the problem that needs most steps is solved."""
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(100, 100, generator=generator), torch.arange(100) % 4
    (weights,) = fit_path(features, labels, classes=4, C_values=[1e4], intercept_scaling=1.0, tolerance=1e-8)
    assert (decide(weights, features, 1.0).argmax(0) == labels).all()


def test_a_class_without_samples_is_refused_everywhere() -> None:
    """A class that the fold happens to lack gets negative decisions, and the others are not disturbed."""
    features, labels = draw(FEW)
    (three,), (four,) = (
        fit_path(features, labels, classes=classes, C_values=[1.0], intercept_scaling=1.0, tolerance=1e-12)
        for classes in (3, 4)
    )
    torch.testing.assert_close(four[:3], three, rtol=1e-4, atol=1e-5)
    assert (decide(four[3], features, 1.0) < 0).all()


def test_two_hundred_thousand_samples_of_three_features_are_quick() -> None:
    """Memory grows with the samples, not with their square: that would take 320 GB here."""
    features, labels = draw((200_000, 3), dtype=torch.float32)
    found = fit_path(features, labels, classes=3, C_values=[1e-3, 1.0], intercept_scaling=1.0, tolerance=1e-6)
    assert found.isfinite().all()


@pytest.mark.parametrize("shape", [FEW, MANY])
def test_everything_happens_where_the_features_are(shape: tuple[int, int]) -> None:
    """No tensor is made on the default device, which here would refuse to meet the others."""
    features, labels = draw(shape)
    with torch.device("meta"):
        found = fit_path(features, labels, classes=3, C_values=[0.1], intercept_scaling=1.0, tolerance=1e-8)
        decided = decide(found, features, 1.0)
    assert found.device == decided.device == features.device


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"C_values": [0.1, 0.0]}, r"C = 0\.0, expected a finite number above 0"),
        ({"C_values": [-2.5]}, r"C = -2\.5, expected a finite number above 0"),
        ({"C_values": [math.nan]}, r"C = nan, expected a finite number above 0"),
        ({"intercept_scaling": 0.0}, r"intercept_scaling = 0\.0, expected a finite number above 0"),
        ({"tolerance": math.inf}, r"tolerance = inf, expected a finite number above 0"),
        ({"labels": torch.ones(40, dtype=torch.int64)}, r"labels of 1 class only, expected at least 2 classes"),
        ({"labels": torch.arange(40) % 5 - 1}, r"labels \[-1, 3\], expected 0 to 2"),
    ],
)
def test_what_cannot_be_fitted_is_told_in_one_line(change: dict[str, object], message: str) -> None:
    """The message quotes the value and says what was expected."""
    features, labels = draw(FEW)
    given = {"labels": labels, "C_values": [0.1], "intercept_scaling": 1.0, "tolerance": 1e-6} | change
    with pytest.raises(UserError, match=rf"^{message}.*$"):
        fit_path(features, classes=3, **given)  # type: ignore[arg-type]


def test_svms_that_do_not_converge_are_told_and_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says how many; their weights are those of the last step, which lowered every objective."""
    features, labels = draw(FEW)
    settings = {"classes": 3, "C_values": [0.1, 1.0], "intercept_scaling": 1.0, "tolerance": 1e-10}
    best = fit_path(features, labels, **settings)
    monkeypatch.setattr(svm, "STEPS", 2)
    found = fit_path(features, labels, **settings)
    said = capsys.readouterr().err
    assert said == (
        "warning: 6 of 6 SVMs, C up to 1, are not within 1e-10 of their optimum after 2 Newton steps; "
        "their last weights are used\n"
    )
    for index, C in enumerate(settings["C_values"]):
        least, reached, zero = (
            objectives(each, features, labels, C=C, scaling=1.0)
            for each in (best[index], found[index], torch.zeros_like(best[index]))
        )
        assert (least <= reached).all()
        assert (reached < zero).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_counted(value: float) -> None:
    """The message says how many samples are affected."""
    features, labels = draw(FEW)
    features[[3, 8], 5] = value
    with pytest.raises(UserError, match=r"^features hold NaN or infinity in 2 samples, expected finite numbers$"):
        fit_path(features, labels, classes=3, C_values=[0.1], intercept_scaling=1.0, tolerance=1e-6)
