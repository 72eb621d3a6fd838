"""Features that no classifier should be given: numbers that are not finite, or the same ones for every image."""

import sys

import numpy as np
from jaxtyping import Bool

from exemplar.errors import UserError
from exemplar.features import Features

ROWS_AT_ONCE = 1000


def require_sound(found: Features) -> None:
    """Raise UserError for features that are not finite or all constant; say which blocks are constant if only some are.

    A block is what a layer gives in one grid of cells.
    """
    constant = constant_columns(found)
    dead = [number for number, block in enumerate(found.blocks, start=1) if constant[block].all()]
    if constant.all():
        raise UserError(
            f"all {len(constant):,} features are the same for each of the {len(found.values):,} images: "
            "the encoder is dead; lower train.learning_rate in params.yaml and train it again"
        )
    if dead:
        print(
            f"warning: the features of {', '.join(map(str, dead))} of {len(found.blocks)} blocks (layer by layer) are "
            "the same for every image; lower train.learning_rate in params.yaml if these layers should tell something",
            file=sys.stderr,
        )


def constant_columns(found: Features) -> Bool[np.ndarray, " d"]:
    """Which features are the same for all images; raises UserError for one that is not finite."""
    lowest = highest = found.values[0]
    for first in range(0, len(found.values), ROWS_AT_ONCE):
        rows = found.values[first : first + ROWS_AT_ONCE]
        lowest, highest = np.minimum(lowest, rows.min(0)), np.maximum(highest, rows.max(0))  # NaN stays NaN
        if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
            broken = first + int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            raise UserError(
                f"the encoder gives features of image {broken} that are not finite; set compute.precision in "
                "params.yaml to float32, or lower train.learning_rate and train it again"
            )
    same: Bool[np.ndarray, " d"] = lowest == highest
    return same
