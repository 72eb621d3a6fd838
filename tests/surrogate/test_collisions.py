"""Which seeds are samples of other classes."""

from dataclasses import replace

import numpy as np

from exemplar.surrogate.collisions import collides
from exemplar.surrogate.ranges import RELEASE
from exemplar.surrogate.seeds import Seeds


def test_a_seed_collides_when_a_shift_and_a_zoom_in_range_cut_it_around_another():
    """Six seeds counted by hand: three of them are samples of another class."""
    squares = [
        (0, 50, 50, 32),  # the next is 8 pixels to the right of it: a shift of 0.25, so each is a sample of the other
        (0, 58, 50, 32),
        (0, 67, 50, 32),  # 9 pixels further on
        (1, 50, 50, 32),  # the same place in another picture
        (2, 50, 50, 32),
        (2, 59, 50, 40),  # 9 pixels are 0.225 of its own side, a legal shift; of the other's they are 0.281
    ]
    image, x, y, side = np.array(squares, float).T
    seeds = Seeds(image=image.astype(np.int64), centre=np.stack([x, y], 1), side=side)
    assert collides(seeds, RELEASE).tolist() == [True, True, False, False, False, True]
    narrow = replace(RELEASE, scale_factor=(0.9, 1.1))
    assert collides(seeds, narrow).tolist() == [True, True, False, False, False, False]
