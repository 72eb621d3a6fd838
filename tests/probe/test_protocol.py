"""The linear SVM on frozen features: what chooses C, and what it answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int64
from sklearn.svm import LinearSVC

from exemplar.datasets.base import Labeled
from exemplar.datasets.evaluation import Measurement
from exemplar.datasets.splits import selection_splits
from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder, Pixels
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
ENCODER = draw_encoder(parse("4c5-8f"), mean=torch.full((3, 32, 32), 0.4), generator=torch.Generator().manual_seed(0))
VALIDATIONS = ("other_folds", "nested", "release_halves")


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


@pytest.fixture(scope="module")
def pool(hard: Labeled) -> Labeled:
    """The same images in three random splits of one pool, 40 to train on and 120 to test."""
    random = np.random.default_rng(5)
    orders = np.array([random.permutation(160) for _ in range(3)])
    return replace(hard, train=orders[:, :40], test=orders[:, 40:])


def as_features(labeled: Labeled) -> Features:
    """Raw pixels in two blocks."""
    values = labeled.images.reshape(len(labeled.images), -1).astype(np.float32) / 255
    return Features(values, (slice(0, 16), slice(16, 48)))


def scale(found: Features, train: Int64[np.ndarray, " m"], settings: Probe) -> Float[np.ndarray, "n d"]:
    """All rows, scaled as those of the training images say."""
    return found.scaled(protocol.divisors(found, train, settings), np.arange(len(found.values)))


def poisoned(labeled: Labeled, fold: int) -> Labeled:
    """The same set, with other images and labels wherever a fold tests."""
    images, labels, test = labeled.images.copy(), labeled.labels.copy(), labeled.test[fold]
    images[test] = 255 - images[test][:, ::-1]
    labels[test] = (labels[test] + 1) % len(labeled.classes)
    return replace(labeled, images=images, labels=labels)


Problem = tuple[torch.Tensor, torch.Tensor, list[float], torch.Tensor]


def record_svms(
    settings: Probe, labeled: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch, *, random_seed: int = 0
) -> tuple[Measurement, list[Problem]]:
    """Measure, and note what every SVM was given and what it found: scaled features, labels, values of C, weights."""
    problems, solve = [], svm.fit_path

    def noting(features: torch.Tensor, labels: torch.Tensor, **given: Any) -> torch.Tensor:
        weights = solve(features, labels, **given)
        problems.append((features.clone(), labels.clone(), list(given["C_values"]), weights))
        return weights

    with monkeypatch.context() as patched:
        patched.setattr(svm, "fit_path", noting)
        measured = settings.measure(ENCODER, labeled, random_seed=random_seed, compute=compute)
    return measured, problems


def same(one: Sequence[Problem], other: Sequence[Problem]) -> bool:
    """Whether SVMs were given the same and found the same, bit for bit."""
    pairs = zip(one, other, strict=True)
    return all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and a[2] == b[2] and torch.equal(a[3], b[3])
        for a, b in pairs
    )


def test_a_fold_that_is_a_split_of_a_shared_pool_chooses_without_its_test_images(
    pool: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under "nested", whatever a fold's test images show and are called: its C, divisors and weights stay as they are.

    Each fold trains two SVMs to choose C and one to answer; here every image that one fold tests, others train on.
    """
    settings = replace(PROBE, validation="nested")
    clean, problems = record_svms(settings, pool, compute, monkeypatch)
    assert len(problems) == 9
    assert clean.labels_for_choice == 0
    for fold in range(3):
        measured, after = record_svms(settings, poisoned(pool, fold), compute, monkeypatch)
        search, answer = slice(2 * fold, 2 * fold + 2), slice(6 + fold, 7 + fold)
        assert measured.chosen[fold] == clean.chosen[fold]
        assert same(after[search], problems[search])
        assert same(after[answer], problems[answer])
        assert not same(after, problems)  # other folds do train on these images


def test_release_halves_sees_what_later_folds_test(
    pool: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the release: the first fold's training images choose one C and the mean colour for all folds."""
    settings = replace(PROBE, validation="release_halves")
    clean, problems = record_svms(settings, pool, compute, monkeypatch)
    assert len(problems) == 5
    assert len({settings["C"] for settings in clean.chosen}) == 1
    assert clean.labels_for_choice > 0
    _, first = record_svms(settings, poisoned(pool, 0), compute, monkeypatch)
    assert same(first[:3], problems[:3])
    _, second = record_svms(settings, poisoned(pool, 1), compute, monkeypatch)
    assert not same(second[:2], problems[:2])


def test_a_test_set_that_all_folds_share_chooses_nothing(
    hard: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other test images and labels change no SVM of any fold, under any validation."""
    for validation, extra in zip(VALIDATIONS, (80, 0, 40), strict=True):
        settings = replace(PROBE, validation=validation)
        clean, problems = record_svms(settings, hard, compute, monkeypatch)
        measured, after = record_svms(settings, poisoned(hard, 0), compute, monkeypatch)
        assert same(after, problems)
        assert measured.chosen == clean.chosen
        assert measured.labels_for_choice == extra
        assert measured.accuracy != clean.accuracy
        assert measured.knn_accuracy != clean.knn_accuracy


def test_other_folds_are_refused_where_they_are_tested(pool: Labeled, compute: Compute) -> None:
    """Folds that are splits of one pool would choose C on what they test."""
    with pytest.raises(UserError, match="a fold trains on what another tests; expected 'nested'"):
        PROBE.measure(Pixels(), pool, random_seed=0, compute=compute)


def test_the_encoder_keeps_its_own_mean_but_under_the_releases_protocol(pool: Labeled) -> None:
    """The mean of the patches that it was trained on shifts no feature by a labeled image."""
    for validation in ("other_folds", "nested"):
        assert replace(PROBE, validation=validation).centred(ENCODER, pool) is ENCODER
    centred = replace(PROBE, validation="release_halves").centred(ENCODER, pool)
    assert isinstance(centred, Encoder)
    expected = pool.images[pool.train[0]].mean((0, 2, 3)) / 255
    np.testing.assert_allclose(centred.mean.mean((1, 2)), expected, rtol=1e-5)


def test_evaluation_is_in_float32_whatever_the_training_was(hard: Labeled) -> None:
    """A machine that trains in bfloat16 measures the same accuracy bit for bit."""
    bfloat16, float32 = (
        PROBE.measure(ENCODER, hard, random_seed=0, compute=Compute(torch.device("cpu"), precision))
        for precision in (torch.bfloat16, torch.float32)
    )
    assert bfloat16.confusion.tolist() == float32.confusion.tolist()
    assert bfloat16.chosen == float32.chosen


def test_c_is_the_best_of_those_drawn_on_the_validation_images(hard: Labeled, compute: Compute) -> None:
    """Found again with scikit-learn's SVM: no drawn C is better on the training images of the other folds."""
    found = as_features(hard)
    splits = PROBE.selection_splits(hard, random_seed=0)
    (chosen,) = {*protocol.choose_C(found, hard, splits, PROBE, random_seed=0, compute=compute)}
    C_values = protocol.draw_C(PROBE.C_range, draws=PROBE.C_draws, random_seed=0)
    assert chosen in C_values
    scores = np.zeros(len(C_values))
    for fold in hard.train:
        scaled, rest = scale(found, fold, PROBE), np.setdiff1d(hard.train, fold)
        for index, C in enumerate(C_values):
            fitted = LinearSVC(C=C, tol=1e-6, max_iter=100_000).fit(scaled[fold], hard.labels[fold])
            scores[index] += fitted.score(scaled[rest], hard.labels[rest])
    assert C_values.index(chosen) == int(np.argmax(scores))
    assert len(set(scores)) > 3


def test_predictions_are_those_of_scikit_learns_linear_svm(hard: Labeled, compute: Compute) -> None:
    """Image by image, for a small and a large C."""
    found, split = as_features(hard), (hard.train[0], hard.test[0])
    predicted = protocol.predict(found, hard, split, PROBE, C_values=[0.003, 3.0], compute=compute)
    scaled = scale(found, split[0], PROBE)
    for C, mine in zip((0.003, 3.0), predicted, strict=True):
        peer = LinearSVC(C=C, tol=1e-7, max_iter=1_000_000).fit(scaled[split[0]], hard.labels[split[0]])
        assert (mine == peer.predict(scaled[split[1]])).mean() > 0.99


def test_classes_that_differ_in_colour_are_told_apart(labeled: Labeled, compute: Compute) -> None:
    """Every fold is measured on its own training images, and answers the same every time."""
    measured = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute)
    assert measured.accuracy == (1.0, 1.0, 1.0)
    assert measured.training_samples == 6
    assert measured.confusion.tolist() == (12 * np.eye(3)).tolist()
    again = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute)
    assert again.chosen == measured.chosen
    assert [1e-5 <= chosen["C"] <= 1 for chosen in measured.chosen] == [True] * 3
    assert measured.knn_accuracy == (1.0, 1.0, 1.0)


def test_a_killed_measurement_goes_on_with_the_part_it_was_at(
    labeled: Labeled, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the kill falls, no SVM is trained again that had been, and the end is what it would have been."""
    monkeypatch.setattr(features, "LARGEST_IN_MEMORY", 0)
    expected, solve, trained = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute), svm.fit_path, []

    def killed_at_the_fifth(*given: torch.Tensor, **settings: object) -> torch.Tensor:
        trained.append(settings["C_values"])
        if len(trained) == 5:
            raise KeyboardInterrupt
        return solve(*given, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(svm, "fit_path", killed_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    measured = PROBE.measure(Pixels(), labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    assert [len(C_values) for C_values in trained] == [
        12,
        12,
        12,
        1,
        1,
        1,
        1,
    ]  # three splits, three folds, one of them twice
    assert measured.accuracy == expected.accuracy
    assert measured.chosen == expected.chosen
    assert measured.knn_accuracy == expected.knn_accuracy
    assert measured.confusion.tolist() == expected.confusion.tolist()


def test_many_test_images_are_answered_in_blocks(
    hard: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all were in memory at once; at least one at a time."""
    found, split = as_features(hard), (hard.train[0], hard.test[0])
    whole = protocol.predict(found, hard, split, PROBE, C_values=[0.003, 3.0], compute=compute)
    for most, counts in ((70 * 48 * 4, [70, 70, 60]), (5, [1] * 200)):
        monkeypatch.setattr(protocol, "BYTES_AT_ONCE", most)
        blocks = [len(block) for block in protocol.scaled_blocks(found, [1.0, 1.0], split[1], compute=compute)]
        assert blocks == counts
        answers = protocol.predict(found, hard, split, PROBE, C_values=[0.003, 3.0], compute=compute)
        assert answers.tolist() == whole.tolist()


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
    (one, two), (second, first) = selection_splits(hard, validation="nested", random_seed=0)
    assert one.tolist() == first.tolist()
    assert two.tolist() == second.tolist()
    assert sorted([*one, *two]) == hard.train[0].tolist()
    assert np.bincount(hard.labels[one]).tolist() == np.bincount(hard.labels[two]).tolist() == [5, 5, 5, 5]
    again, other = (selection_splits(hard, validation="nested", random_seed=number)[0][0] for number in (0, 1))
    assert again.tolist() == one.tolist() != other.tolist()


def test_one_fold_has_no_other_folds(hard: Labeled, compute: Compute) -> None:
    """A protocol with a single fold must choose C inside it, and is told so."""
    single = replace(hard, train=hard.train[:1], test=hard.test[:1])
    with pytest.raises(UserError, match=r"other_folds.*nested"):
        PROBE.measure(Pixels(), single, random_seed=0, compute=compute)


def test_what_cannot_be_chosen_is_told_before_features_are_made(pool: Labeled, compute: Compute) -> None:
    """These may take hours; here they would be refused, because the images are too small for four cells."""
    train = pool.train[:1]
    first = np.unique(pool.labels[train[0]], return_index=True)[1][:2]
    single = replace(pool, train=train[:, first], test=pool.test[:1])
    with pytest.raises(UserError, match="validation is on halves, but a half of the"):
        replace(PROBE, validation="nested", cells=(9,), cell_weights=(1.0,)).measure(
            ENCODER, single, random_seed=0, compute=compute
        )


def test_values_of_C_are_spread_evenly_on_a_logarithmic_scale() -> None:
    """Between their bounds, ascending, the same for the same random seed."""
    C_values = protocol.draw_C((1e-4, 10.0), draws=4000, random_seed=1)
    assert C_values == sorted(C_values) == protocol.draw_C((1e-4, 10.0), draws=4000, random_seed=1)
    assert C_values != protocol.draw_C((1e-4, 10.0), draws=4000, random_seed=2)
    assert C_values[0] >= 1e-4
    assert C_values[-1] <= 10
    counts, _ = np.histogram(np.log10(C_values), bins=5, range=(-4, 1))
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


def test_values_of_C_and_halves_follow_the_random_seed(
    pool: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a measurement draws are the draws of its own random seed, in every fold."""
    _, problems = record_svms(replace(PROBE, validation="nested"), pool, compute, monkeypatch, random_seed=7)
    C_values = protocol.draw_C(PROBE.C_range, draws=PROBE.C_draws, random_seed=7)
    for fold in range(3):
        halves = selection_splits(pool, validation="nested", random_seed=7, fold=fold)
        for (train, _), problem in zip(halves, problems[2 * fold : 2 * fold + 2], strict=True):
            assert problem[1].tolist() == pool.labels[train].tolist()
            assert problem[2] == C_values


def test_among_equal_values_of_C_the_smallest_is_chosen(labeled: Labeled, compute: Compute) -> None:
    """With features that name the class every C validates without a mistake."""
    found = Features(np.eye(3, dtype=np.float32)[labeled.labels], (slice(0, 3),))
    C_values, splits = protocol.draw_C(PROBE.C_range, draws=12, random_seed=0), PROBE.selection_splits
    chosen = protocol.choose_C(found, labeled, splits(labeled, random_seed=0), PROBE, random_seed=0, compute=compute)
    assert chosen == [C_values[0]] * 3


def test_too_little_memory_for_the_svms_is_told_with_what_to_lower(
    hard: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The side, as params.yaml calls it."""
    monkeypatch.setattr(svm, "fit_path", lambda *_, **__: torch.empty(2**55))
    with pytest.raises(UserError, match=r"^out of memory: the SVMs; lower side of this dataset under probe in params"):
        protocol.fit(as_features(hard), hard, hard.train[0], PROBE, C_values=[0.1], compute=compute)
