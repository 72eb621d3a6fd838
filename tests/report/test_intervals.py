"""How sure an accuracy or a difference is."""

from dataclasses import replace

import numpy as np
import pytest
from test_comparison import RECORD

from exemplar.datasets.intervals import interval, of_accuracy, of_difference

random = np.random.default_rng(0)


def test_with_one_fold_it_is_the_interval_of_independent_images():
    """Student's t of the mean over the images."""
    values = random.normal(size=(1, 50))
    found = interval(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.margin == pytest.approx(2.0096 * values.std(ddof=1) / np.sqrt(50), rel=1e-4)


def test_folds_with_test_images_of_their_own_are_compared_as_folds():
    """Then it is Student's t of the folds' means, wherever these differ by more than chance."""
    values = np.full((3, 60), np.nan)
    for fold in range(3):
        values[fold, 20 * fold : 20 * fold + 20] = random.normal(size=20, loc=10 * fold)
    means = np.nanmean(values, axis=1)
    expected = 4.303 * means.std(ddof=1) / np.sqrt(3)
    assert interval(values).margin == pytest.approx(expected, rel=0.05)


def test_a_test_set_that_all_folds_share_counts_once():
    """Ten folds with the same answers know no more about other images than one."""
    answers = random.integers(0, 2, (1, 200)).astype(float)
    assert interval(np.repeat(answers, 10, axis=0)).margin == pytest.approx(interval(answers).margin, rel=0.01)


@pytest.mark.parametrize("folds", [1, 3, 10])
def test_it_holds_the_truth_19_times_in_20(folds: int):
    """Where folds, images and single answers all vary; a few times in a hundred more or less is chance."""
    images, times = 60, 400
    held = 0
    for _ in range(times):
        effects = random.normal(size=(folds, 1)) * 0.1 * (folds > 1) + random.normal(size=(1, images)) * 0.5
        held += covers(effects + random.normal(size=(folds, images)) * 0.7)
    assert 0.92 <= held / times <= 0.99


def covers(values: np.ndarray) -> bool:
    """Whether the interval of numbers around 0 holds 0."""
    return not interval(values).is_shown


def test_a_difference_is_paired():
    """Two rows that err on the same images differ more surely than two that err anywhere."""
    first = replace(RECORD, answers=["1111111100"] * 3)
    alike, unlike = replace(RECORD, answers=["1111111000"] * 3), replace(RECORD, answers=["0001111111"] * 3)
    assert of_difference(first, alike).mean == pytest.approx(of_difference(first, unlike).mean)
    assert of_difference(first, alike).margin < of_difference(first, unlike).margin
    same = of_difference(first, first)
    assert (same.mean, same.margin, same.is_shown) == (0, 0, False)
    assert of_accuracy(first).mean == pytest.approx(0.8)
