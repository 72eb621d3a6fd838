"""Surrogate classes that collide: a seed that is itself a legal sample of another seed's class."""

import numpy as np
from jaxtyping import Bool

from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds


def collides(seeds: Seeds, ranges: Ranges) -> Bool[np.ndarray, " n"]:
    """Whether each seed is the square that a shift and a zoom within `ranges` cut around another seed of its image."""
    answer = np.zeros(len(seeds.image), bool)
    order = np.argsort(seeds.image, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(seeds.image[order])) + 1):
        centre, side = seeds.centre[group], seeds.side[group]
        shift = (centre[:, None] - centre[None]) / side[:, None, None]  # of seed i from seed j, in sides of seed i
        zoom = side[None] / side[:, None]
        legal = within(shift, ranges.shift_fraction).all(2) & within(zoom, ranges.scale_factor)
        np.fill_diagonal(legal, False)
        answer[group] = legal.any(1)
    return answer


def within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Whether values lie between two bounds, but for rounding."""
    return (values >= bounds[0] - 1e-9) & (values <= bounds[1] + 1e-9)
