"""Random splits into training and test images, the same number of each class every time."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from exemplar.errors import UserError


def draw_orders(
    groups: Sequence[Int64[np.ndarray, " _"]], *, folds: int, random_seed: int
) -> list[list[Int64[np.ndarray, " _"]]]:
    """For each fold, the members of every group (the indices of a class) in a random order."""
    generator = np.random.default_rng(random_seed)
    return [[generator.permutation(group) for group in groups] for _ in range(folds)]


def take(
    orders: list[list[Int64[np.ndarray, " _"]]], first: int, last: int | None = None
) -> Int64[np.ndarray, "folds m"]:
    """One row a fold: the members at the places `first` to `last` of each group's order, group after group."""
    return np.array([np.concatenate([order[first:last] for order in fold]) for fold in orders], dtype=np.int64)


def require_members(
    groups: Sequence[Int64[np.ndarray, " _"]], names: Sequence[str], *, least: int, remedy: str = ""
) -> None:
    """Raise UserError for the first group with fewer than `least` members, and say what helps where something does."""
    for group, name in zip(groups, names, strict=True):
        if len(group) < least:
            raise UserError(f"the class {name!r} has {len(group)} images; the protocol needs at least {least}{remedy}")
