"""The linear SVM on frozen features: what chooses C, and what it answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int64
from sklearn.svm import LinearSVC

from exemplar.datasets.base import Labeled
from exemplar.datasets.splits import selection_splits
from exemplar.errors import UserError
from exemplar.models.network import Pixels
from exemplar.probe import features, protocol, svm
from exemplar.probe.features import Features
from exemplar.probe.protocol import Probe
from exemplar.runtime.device import Compute

PROBE = Probe(
    side=40,
    cells=(1,),
    cell_weights=(1.0,),
    percentile=99.9,
    C_range=(1e-5, 1.0),
    C_draws=12,
    intercept_scaling=1.0,
    validation="other_folds",
)
VALIDATIONS = ("other_folds", "halves")


@pytest.fixture(scope="module")
def hard() -> Labeled:
    """Four overlapping classes with three folds of 40 training images and 200 test images."""
    random = np.random.default_rng(3)
    labels = np.arange(320) % 4
    means = random.normal(0, 9, (4, 3, 4, 4))
    images = (128 + means[labels] + random.normal(0, 30, (320, 3, 4, 4))).clip(0, 255).astype(np.uint8)
    return Labeled(
        images=images,
        labels=labels,
        train=np.arange(120).reshape(3, 40),
        test=np.tile(np.arange(120, 320), (3, 1)),
        classes=tuple("abcd"),
    )


def as_features(labeled: Labeled) -> Features:
    """Raw pixels in two blocks."""
    values = labeled.images.reshape(len(labeled.images), -1).astype(np.float32) / 255
    return Features(values, (slice(0, 16), slice(16, 48)))


def scale(found: Features, train: Int64[np.ndarray, " m"], settings: Probe) -> Float[np.ndarray, "n d"]:
    """All rows, scaled as those of the training images say."""
    return found.scaled(protocol.divisors(found, train, settings), np.arange(len(found.values)))


def other_test(labeled: Labeled) -> Labeled:
    """The same training images, with other images and labels for the test."""
    images, labels = labeled.images.copy(), labeled.labels.copy()
    images[labeled.test[0]] = 255 - images[labeled.test[0]]
    labels[labeled.test[0]] = (labels[labeled.test[0]] + 1) % len(labeled.classes)
    return replace(labeled, images=images, labels=labels)


@pytest.mark.parametrize("validation", VALIDATIONS)
def test_the_test_set_chooses_nothing(hard: Labeled, compute: Compute, validation: str) -> None:
    """Other test images and labels change neither C nor what the SVMs answer to the images of the training data."""
    settings = replace(PROBE, validation=validation)
    answers = []
    for labeled in (hard, other_test(hard)):
        found = as_features(labeled)
        cost = protocol.choose_cost(found, labeled, settings, random_seed=0, compute=compute)
        split = (labeled.train[0], labeled.train[1])
        answers.append(
            (cost, protocol.predict(found, labeled, split, settings, costs=[cost], compute=compute).tolist())
        )
    assert answers[0] == answers[1]


def test_c_is_the_best_of_those_drawn_on_the_validation_images(hard: Labeled, compute: Compute) -> None:
    """Found again with scikit-learn's SVM: no drawn C is better on the training images of the other folds."""
    found = as_features(hard)
    chosen = protocol.choose_cost(found, hard, PROBE, random_seed=0, compute=compute)
    costs = protocol.draw_costs(PROBE.C_range, draws=PROBE.C_draws, random_seed=0)
    assert chosen in costs
    scores = np.zeros(len(costs))
    for fold in hard.train:
        scaled, rest = scale(found, fold, PROBE), np.setdiff1d(hard.train, fold)
        for index, cost in enumerate(costs):
            fitted = LinearSVC(C=cost, tol=1e-6, max_iter=100_000).fit(scaled[fold], hard.labels[fold])
            scores[index] += fitted.score(scaled[rest], hard.labels[rest])
    assert costs.index(chosen) == int(np.argmax(scores))
    assert len(set(scores)) > 3


def test_predictions_are_those_of_scikit_learns_linear_svm(hard: Labeled, compute: Compute) -> None:
    """Image by image, for a small and a large C."""
    found, split = as_features(hard), (hard.train[0], hard.test[0])
    predicted = protocol.predict(found, hard, split, PROBE, costs=[0.003, 3.0], compute=compute)
    scaled = scale(found, split[0], PROBE)
    for cost, mine in zip((0.003, 3.0), predicted, strict=True):
        peer = LinearSVC(C=cost, tol=1e-7, max_iter=1_000_000).fit(scaled[split[0]], hard.labels[split[0]])
        assert (mine == peer.predict(scaled[split[1]])).mean() > 0.99


def test_classes_that_differ_in_colour_are_told_apart(labeled: Labeled, compute: Compute) -> None:
    """Every fold is measured on its own training images, and answers the same every time."""
    measured = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute)
    assert measured.accuracy == (1.0, 1.0, 1.0)
    assert measured.training_samples == 6
    assert measured.confusion.tolist() == (12 * np.eye(3)).tolist()
    again = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute)
    assert again.cost == measured.cost
    assert measured.cost is not None
    assert 1e-5 <= measured.cost <= 1


def test_a_killed_measurement_goes_on_with_the_part_it_was_at(
    labeled: Labeled, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the kill falls, no SVM is trained again that had been, and the end is what it would have been."""
    monkeypatch.setattr(features, "LARGEST_IN_MEMORY", 0)
    expected, solve, trained = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute), svm.fit_path, []

    def killed_at_the_fifth(*given: torch.Tensor, **settings: object) -> torch.Tensor:
        trained.append(settings["costs"])
        if len(trained) == 5:
            raise KeyboardInterrupt
        return solve(*given, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(svm, "fit_path", killed_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    measured = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    assert [len(costs) for costs in trained] == [12, 12, 12, 1, 1, 1, 1]  # three splits, three folds, one of them twice
    assert measured.accuracy == expected.accuracy
    assert measured.cost == expected.cost
    assert measured.confusion.tolist() == expected.confusion.tolist()


def test_many_test_images_are_answered_in_blocks(
    hard: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all were in memory at once."""
    found, split = as_features(hard), (hard.train[0], hard.test[0])
    whole = protocol.predict(found, hard, split, PROBE, costs=[0.003, 3.0], compute=compute)
    monkeypatch.setattr(protocol, "BYTES_AT_ONCE", 3 * found.values[:1].nbytes)
    blocks = protocol.predict(found, hard, split, PROBE, costs=[0.003, 3.0], compute=compute)
    assert blocks.tolist() == whole.tolist()


@pytest.mark.parametrize("validation", VALIDATIONS)
def test_splits_lie_inside_the_training_data(hard: Labeled, validation: str) -> None:
    """No image of a split is tested, and none is both trained and validated on."""
    splits = selection_splits(hard, validation=validation, random_seed=0)
    for train, validated in splits:
        assert not set(train) & set(validated)
        assert {*train, *validated} <= set(hard.train.ravel())
        assert not {*train, *validated} & set(hard.test.ravel())


def test_other_folds_validate_each_fold(hard: Labeled) -> None:
    """An image that two folds share stays on the training side."""
    overlapping = replace(hard, train=np.stack([np.arange(40), np.arange(20, 60)]), test=hard.test[:2])
    first, second = selection_splits(overlapping, validation="other_folds", random_seed=0)
    assert [part.tolist() for part in first] == [list(range(40)), list(range(40, 60))]
    assert [part.tolist() for part in second] == [list(range(20, 60)), list(range(20))]


def test_halves_of_the_first_fold_validate_each_other(hard: Labeled) -> None:
    """Each has half of every class, and the draw follows from the random seed."""
    (one, two), (second, first) = selection_splits(hard, validation="halves", random_seed=0)
    assert one.tolist() == first.tolist()
    assert two.tolist() == second.tolist()
    assert sorted([*one, *two]) == hard.train[0].tolist()
    assert np.bincount(hard.labels[one]).tolist() == np.bincount(hard.labels[two]).tolist() == [5, 5, 5, 5]
    again, other = (selection_splits(hard, validation="halves", random_seed=number)[0][0] for number in (0, 1))
    assert again.tolist() == one.tolist() != other.tolist()


def test_one_fold_has_no_other_folds(hard: Labeled, compute: Compute) -> None:
    """A protocol with a single fold must choose C on halves, and is told so."""
    single = replace(hard, train=hard.train[:1], test=hard.test[:1])
    with pytest.raises(UserError, match=r"other_folds.*halves"):
        protocol.choose_cost(as_features(single), single, PROBE, random_seed=0, compute=compute)


def test_costs_are_spread_evenly_on_a_logarithmic_scale() -> None:
    """Between their bounds, ascending, the same for the same random seed."""
    costs = protocol.draw_costs((1e-4, 10.0), draws=4000, random_seed=1)
    assert costs == sorted(costs) == protocol.draw_costs((1e-4, 10.0), draws=4000, random_seed=1)
    assert costs[0] >= 1e-4
    assert costs[-1] <= 10
    counts, _ = np.histogram(np.log10(costs), bins=5, range=(-4, 1))
    assert counts.min() > 700


def test_layers_are_scaled_by_their_training_features_and_grids_weighted() -> None:
    """After scaling, a block's percentile over the training rows is the weight of its grid."""
    random = np.random.default_rng(0)
    values = random.random((6, 40), np.float32) * np.repeat([1.0, 5.0, 20.0, 0.1], 10).astype(np.float32)
    found = Features(values, tuple(slice(start, start + 10) for start in range(0, 40, 10)))
    settings = replace(PROBE, cells=(1, 2), cell_weights=(1.0, 0.25), percentile=100.0)
    scaled = scale(found, np.array([0, 1, 2]), settings)
    highest = [scaled[:3, block].max() for block in found.blocks]
    np.testing.assert_allclose(highest, [1, 0.25, 1, 0.25], rtol=1e-6)
