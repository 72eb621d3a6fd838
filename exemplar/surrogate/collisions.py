"""Surrogate classes that collide: a seed that is itself a legal sample of another seed's class."""

import numpy as np
from jaxtyping import Bool, Int64

from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds


def collides(seeds: Seeds, ranges: Ranges) -> Bool[np.ndarray, " n"]:
    """Whether each seed is the square that a shift and a zoom within `ranges` cut around another seed of its image."""
    answer = np.zeros(len(seeds.image), bool)
    order, apart = np.argsort(seeds.image, kind="stable"), 0
    while True:  # all pairs of an image: those that lie one apart in this order, two apart and so on
        apart += 1
        one, other = order[:-apart], order[apart:]
        same = seeds.image[one] == seeds.image[other]
        if not same.any():
            return answer
        for seed, around in ((one[same], other[same]), (other[same], one[same])):
            answer[seed[is_sample(seeds, seed, around, ranges)]] = True


def is_sample(
    seeds: Seeds, seed: Int64[np.ndarray, " p"], around: Int64[np.ndarray, " p"], ranges: Ranges
) -> Bool[np.ndarray, " p"]:
    """Whether seeds are the squares that a shift and a zoom within `ranges` cut around others."""
    shift = (seeds.centre[seed] - seeds.centre[around]) / seeds.side[seed, None]  # in sides of the seed
    zoom = seeds.side[around] / seeds.side[seed]
    return within(shift, ranges.shift_fraction).all(1) & within(zoom, ranges.scale_factor)


def within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Whether values lie between two bounds, but for rounding."""
    return (values >= bounds[0] - 1e-9) & (values <= bounds[1] + 1e-9)
