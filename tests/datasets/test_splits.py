"""Random splits."""

from dataclasses import replace

import numpy as np
import pytest

from exemplar.datasets import splits
from exemplar.datasets.base import Labeled
from exemplar.datasets.splits import draw_orders, require_members, take
from exemplar.errors import UserError

GROUPS = [np.arange(10), np.arange(20, 25), np.arange(100, 140)]


def test_an_order_is_a_permutation_of_each_group() -> None:
    """Every fold has each member of a group once, in an order of its own."""
    orders = draw_orders(GROUPS, folds=5)
    assert len(orders) == 5
    for fold in orders:
        for order, group in zip(fold, GROUPS, strict=True):
            assert np.array_equal(np.sort(order), group)
    assert len({tuple(fold[2]) for fold in orders}) == 5


def test_the_orders_are_those_of_the_protocol() -> None:
    """They are the same in every run, whatever its random seed, and a fold's do not depend on how many there are."""
    some, more = (draw_orders(GROUPS, folds=folds) for folds in (3, 5))
    assert np.array_equal(take(some, 0, 5), take(more, 0, 5)[:3])
    assert some[0][0].tolist() == [8, 5, 3, 4, 7, 0, 1, 2, 9, 6]


def test_what_is_taken_from_different_places_has_nothing_in_common() -> None:
    """Training and test images of a fold are different places of the same order."""
    orders = draw_orders(GROUPS, folds=3)
    train, test, capped = take(orders, 0, 4), take(orders, 4), take(orders, 4, 10)
    assert (train.shape, test.shape, capped.shape) == ((3, 12), (3, 43), (3, 6 + 1 + 6))
    for one, rest in zip(train, test, strict=True):
        assert sorted([*one, *rest]) == sorted(np.concatenate(GROUPS))


def test_a_group_that_is_too_small_is_named() -> None:
    """The first of them."""
    require_members(GROUPS, ["a", "b", "c"], least=5)
    with pytest.raises(UserError, match="the class 'b' has 5 images; the protocol needs at least 6"):
        require_members(GROUPS, ["a", "b", "c"], least=6)


def test_nested_halves_are_those_of_the_fold_that_asks(labeled: Labeled) -> None:
    """Each fold chooses inside its own training images; "release_halves" gives the first fold's to all."""
    for fold, train in enumerate(labeled.train):
        (one, two), _ = splits.selection_splits(labeled, validation="nested", random_seed=0, fold=fold)
        assert sorted([*one, *two]) == sorted(train)
        (one, two), _ = splits.selection_splits(labeled, validation="release_halves", random_seed=0, fold=fold)
        assert sorted([*one, *two]) == sorted(labeled.train[0])


def test_labels_that_choosing_costs_are_those_of_other_folds(labeled: Labeled) -> None:
    """Nested choice costs none; validation on the other folds costs all of their labels."""
    for validation, extra in (("nested", 0), ("release_halves", 6), ("other_folds", 12)):
        chosen_on = splits.selection_splits(labeled, validation=validation, random_seed=0, fold=1)
        assert splits.extra_labels(labeled.train[1], chosen_on) == extra


def test_halves_share_every_class_evenly_and_follow_fold_and_random_seed(labeled: Labeled) -> None:
    """Each trains once and validates once; another fold or random seed draws others."""
    same = replace(labeled, train=np.tile(np.arange(18), (3, 1)))
    (one, two), swapped = splits.halves(same, 0, random_seed=0)
    assert [part.tolist() for part in swapped] == [two.tolist(), one.tolist()]
    assert np.bincount(same.labels[one]).tolist() == np.bincount(same.labels[two]).tolist() == [3, 3, 3]
    assert sorted([*one, *two]) == list(range(18))
    drawn = [splits.halves(same, fold, random_seed=seed)[0][0].tolist() for fold, seed in ((0, 0), (1, 0), (0, 1))]
    assert len(set(map(tuple, drawn))) == 3


def test_a_half_with_one_class_is_refused(labeled: Labeled) -> None:
    """One image of each of two classes leaves nothing to tell apart."""
    single = replace(labeled, train=np.array([[0, 1]] * 3))
    with pytest.raises(UserError, match=r"a half of the 2 training images of fold 2 has one class only"):
        splits.halves(single, 1, random_seed=0)
