"""Wide features in the axes of their training images' span: fewer numbers, and the same SVMs and cosines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_protocol import PROBE

from exemplar.datasets.base import Labeled
from exemplar.models.network import Pixels
from exemplar.probe import features, protocol, span, svm
from exemplar.probe.features import Features
from exemplar.probe.span import Span
from exemplar.runtime.device import Compute

TRAIN, OTHERS, DIVISORS = np.arange(0, 60, 2), np.arange(1, 60, 2), (0.5, 2.0)


@pytest.fixture(params=[5, 4096])
def wide(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Features:
    """60 images of 90 features in two blocks, read five columns at a time or block by block."""
    monkeypatch.setattr(span, "COLUMNS_AT_ONCE", request.param)
    values = np.random.default_rng(0).random((60, 90), np.float32)
    return Features(values, (slice(0, 41), slice(41, 90)))


@pytest.fixture
def narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All features that are wider than their training images count as wide."""
    monkeypatch.setattr(span, "MOST_BYTES", 0)


def test_products_and_lengths_are_those_of_the_features(wide: Features) -> None:
    """Between training images, between these and others, and of each by itself."""
    plain = torch.from_numpy(wide.scaled(DIVISORS, np.concatenate([TRAIN, OTHERS])))
    found = Span.of(wide, DIVISORS, TRAIN, torch.device("cpu"))
    narrow = torch.cat([found.training(), *found.blocks(OTHERS)])
    assert narrow.shape == (60, 31)
    torch.testing.assert_close(narrow[:30] @ narrow.T, plain[:30] @ plain.T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(narrow.square().sum(1), plain.square().sum(1), rtol=1e-4, atol=1e-4)


def test_equal_training_images_stay_solvable(wide: Features) -> None:
    """Their span lacks dimensions, and an image of another row that equals them lies inside of it."""
    wide.values[TRAIN[:5]] = wide.values[OTHERS[0]]
    found = Span.of(wide, DIVISORS, TRAIN, torch.device("cpu"))
    (other,) = found.blocks(OTHERS[:1])
    assert found.training().isfinite().all()
    torch.testing.assert_close(
        other @ found.training().T, (found.training() @ found.training().T)[:1], rtol=1e-3, atol=1e-3
    )
    assert float(other[0, -1]) < 0.01 * float(other.norm())


def test_weights_come_back_to_the_features(wide: Features) -> None:
    """An SVM in the axes of the span, written for the features, is the SVM of the features."""
    labels = torch.arange(30) % 3
    settings = {"classes": 3, "C_values": [0.1], "intercept_scaling": 1.0, "tolerance": 1e-9}
    found = Span.of(wide, DIVISORS, TRAIN, torch.device("cpu"))
    plain = svm.fit_path(torch.from_numpy(wide.scaled(DIVISORS, TRAIN)), labels, **settings)[0]
    narrow = svm.fit_path(found.training(), labels, **settings)[0]
    torch.testing.assert_close(found.unproject(narrow), plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("validation", ["other_folds", "nested"])
def test_a_measurement_is_the_same_in_either_form(
    validation: str, labeled: Labeled, compute: Compute, request: pytest.FixtureRequest
) -> None:
    """C, the SVM's answers and those of nearest neighbours."""
    settings = replace(PROBE, side=32, validation=validation)
    plain = settings.measure(Pixels(), labeled, random_seed=0, compute=compute)
    request.getfixturevalue("narrowed")
    narrow = settings.measure(Pixels(), labeled, random_seed=0, compute=compute)
    assert narrow.chosen == plain.chosen
    assert narrow.confusion.tolist() == plain.confusion.tolist()
    assert narrow.knn_accuracy == plain.knn_accuracy


@pytest.mark.usefixtures("narrowed")
def test_weights_of_a_fit_are_those_of_the_features(labeled: Labeled, compute: Compute) -> None:
    """As whoever measures invariance needs them, for features of images that are changed."""
    values = labeled.images.reshape(len(labeled.images), -1).astype(np.float32) / 255
    found = Features(values, (slice(0, values.shape[1]),))
    fitted = protocol.fit(found, labeled, labeled.train[0], PROBE, C_values=[0.01], compute=compute)
    plain = svm.decide(fitted.feature_weights(), torch.from_numpy(found.scaled(fitted.divisors, labeled.test[0])), 1.0)
    narrow = svm.decide(fitted.weights[0], torch.cat(list(fitted.blocks(labeled.test[0]))), 1.0)
    torch.testing.assert_close(narrow, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("percentile", [99.99, 99.0, 50.0, 100.0, 0.0])
def test_a_percentile_of_a_large_block_is_that_of_its_sorted_values(
    percentile: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the values above it only, part by part."""
    values = np.random.default_rng(0).normal(size=(70, 30)).astype(np.float32)
    rows, block = np.arange(5, 65), slice(3, 28)
    exact = np.percentile(values[rows, block].astype(np.float64), percentile)
    monkeypatch.setattr(features, "LARGEST_BLOCK", 700)
    assert features.block_percentile(values, block, rows=rows, percentile=percentile) == pytest.approx(exact, rel=1e-6)


def test_pixels_are_written_once_whatever_the_grids(labeled: Labeled, compute: Compute, tmp_path: Path) -> None:
    """Three grids of cells would be three times the same numbers, 7 GB of Caltech-101 in place of 2.3."""
    found = features.measure(Pixels(), labeled.images, side=32, cells=(1, 2, 4), compute=compute)
    assert found.values.shape[1] == 3 * 32 * 32
    assert len(found.blocks) == 1
    settings = replace(PROBE, side=32, cells=(1, 2, 4), cell_weights=(1.0, 0.5, 0.25), C_draws=2)
    assert settings.measure(Pixels(), labeled, random_seed=0, compute=compute, unfinished=tmp_path).accuracy
