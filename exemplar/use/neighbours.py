"""One picture's features and those of many -> the pictures that are most like it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from exemplar.errors import UserError

SMALLEST = 1e-12
ROUNDING = 0.01  # of the largest feature: more than another machine or device makes

Rows = Iterable[tuple[Sequence[object], Float[np.ndarray, "_ _"]]]


@dataclass(frozen=True)
class Neighbour:
    """A picture, and its similarity between -1 and 1."""

    picture: str
    similarity: float


def unit_blocks(features: Float[np.ndarray, "n d"], widths: Sequence[int]) -> Float[np.ndarray, "n d"]:
    """Features of unit length in every block, so that each layer counts as much as another whatever its scale."""
    blocks = np.split(features, np.cumsum(widths)[:-1], axis=1)
    lengths = [np.linalg.norm(block, axis=1, keepdims=True).clip(SMALLEST) for block in blocks]
    pairs = zip(blocks, lengths, strict=True)
    united: np.ndarray = np.concatenate([block / length for block, length in pairs], 1) / np.sqrt(len(blocks))
    return united


def nearest(
    features: Float[np.ndarray, " d"],
    others: Rows,
    *,
    widths: Sequence[int],
    count: int,
) -> list[Neighbour]:
    """The `count` most similar of many, the best first; `widths` are those of the blocks.

    Similarity is the cosine of the angle between two blocks, averaged over the blocks. Raises UserError for features
    of another width.
    """
    unit, best = unit_blocks(features[None], widths)[0], list[Neighbour]()
    for names, rows in others:
        if rows.shape[1] != len(features):
            raise UserError(
                f"the searched features are {rows.shape[1]} wide, the picture's {len(features)}: they were made with "
                "another encoder, or other --cells or --side; pass those that made them, or run exemplar features again"
            )
        similarities = unit_blocks(rows, widths) @ unit
        best += [Neighbour(str(name), float(value)) for name, value in zip(names, similarities, strict=True)]
        best = sorted(best, key=lambda neighbour: -neighbour.similarity)[:count]
    return best


def require_made_by(make: Callable[[Path], Float[np.ndarray, " d"]], rows: Rows, *, file: Path) -> None:
    """Raise UserError where `make` gives other features of the first picture that is there than its row in the file.

    Another encoder, side or number of cells may give as many numbers, whose similarities mean nothing.
    """
    for names, block in rows:
        for name, row in zip(names, block, strict=True):
            try:
                made = make(Path(str(name)))
            except UserError:  # it is not there, or no picture any more
                continue
            if made.shape == row.shape and np.abs(made - row).max() > ROUNDING * np.abs(made).max():
                raise UserError(
                    f"{file} has other features of {name} than this encoder gives at this side and these cells; pass "
                    "those that made it, or run exemplar features again"
                )
            return
