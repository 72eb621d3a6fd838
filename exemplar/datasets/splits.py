"""Random splits into training and test images, and the splits of training images on which settings are chosen."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int64

from exemplar.datasets.base import Labeled
from exemplar.datasets.streams import numpy_stream
from exemplar.errors import UserError

# The splits belong to a protocol, as STL-10's folds do: other random seeds train anew on the same images.
PROTOCOL_SEED = 20140627
Split = tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]


def draw_orders(groups: Sequence[Int64[np.ndarray, " _"]], *, folds: int) -> list[list[Int64[np.ndarray, " _"]]]:
    """For each fold, the members of every group (the indices of a class) in a random order, the same in every run."""
    generators = [numpy_stream(PROTOCOL_SEED, "splits", fold) for fold in range(folds)]
    return [[generator.permutation(group) for group in groups] for generator in generators]


def take(
    orders: list[list[Int64[np.ndarray, " _"]]], first: int, last: int | None = None
) -> Int64[np.ndarray, "folds m"]:
    """One row a fold: the members at the places `first` to `last` of each group's order, group after group."""
    return np.array([np.concatenate([order[first:last] for order in fold]) for fold in orders], dtype=np.int64)


def require_members(
    groups: Sequence[Int64[np.ndarray, " _"]],
    names: Sequence[str],
    *,
    least: int,
    remedy: Callable[[str], str] = lambda _: "",
) -> None:
    """Raise UserError for a single group, and for the first with fewer than `least` members, with what helps it."""
    if len(names) < 2:
        raise UserError(f"there is one class only, {names[0]!r}; the protocol needs two or more")
    for group, name in zip(groups, names, strict=True):
        if len(group) < least:
            few = f"the class {name!r} has {len(group)} images; the protocol needs at least {least}"
            raise UserError(f"{few}{remedy(name)}")


def selection_splits(labeled: Labeled, *, validation: str, random_seed: int, fold: int = 0) -> list[Split]:
    """The (training, validation) splits on which the settings of a fold are chosen.

    "other_folds" trains on each fold in turn and validates on the training images of the others; the release does so
    with the first fold only. "nested" is two-fold cross-validation inside the training images of the fold itself, for
    folds that are random splits of one pool: what one of them trains on, another tests. "release_halves" is the same
    inside the first fold, whichever `fold` asks: one choice for all folds, which sees what later folds test.
    """
    if validation == "other_folds":
        if np.intersect1d(labeled.train, labeled.test).size:
            raise UserError("validation is 'other_folds', but a fold trains on what another tests; expected 'nested'")
        splits = [(train, np.setdiff1d(labeled.train, train)) for train in labeled.train]
        if min(len(others) for _, others in splits) == 0:
            raise UserError("validation is 'other_folds', but no other fold has images of its own; expected 'nested'")
        return splits
    return halves(labeled, fold if validation == "nested" else 0, random_seed=random_seed)


def halves(labeled: Labeled, fold: int, *, random_seed: int) -> list[Split]:
    """Two-fold cross-validation inside the training images of one fold, each class split evenly."""
    train = numpy_stream(random_seed, "halves", fold).permutation(labeled.train[fold])
    by_class = train[np.argsort(labeled.labels[train], kind="stable")]
    one, two = np.sort(by_class[::2]), np.sort(by_class[1::2])
    if min(len(np.unique(labeled.labels[half])) for half in (one, two)) < 2:
        raise UserError(
            f"validation is on halves, but a half of the {len(train)} training images of fold {fold + 1} has one class "
            "only; expected two images of two classes or more, or validation 'other_folds'"
        )
    return [(one, two), (two, one)]


def extra_labels(train: Int64[np.ndarray, " t"], splits: Sequence[Split]) -> int:
    """How many labeled images these splits use that are not among a fold's own training images."""
    used = np.concatenate([np.concatenate(split) for split in splits])
    return len(np.setdiff1d(used, train))
