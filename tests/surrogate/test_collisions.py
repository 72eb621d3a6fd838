"""Which seeds are samples of other classes."""

import time
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


def test_every_pair_of_an_image_is_looked_at():
    """Images with one seed or many, in any order: as when each pair is looked at by itself."""
    dice = np.random.default_rng(0)
    image = dice.integers(0, 60, 150)
    seeds = Seeds(image=image, centre=dice.uniform(30, 70, (150, 2)), side=dice.choice([32.0, 40.0, 50.0], 150))
    expected = np.zeros(150, bool)
    for one in range(150):
        for other in set(np.flatnonzero(image == image[one])) - {one}:
            shift = (seeds.centre[one] - seeds.centre[other]) / seeds.side[one]
            zoom = seeds.side[other] / seeds.side[one]
            low, high = np.array([RELEASE.shift_fraction, RELEASE.shift_fraction, RELEASE.scale_factor]).T
            expected[one] |= ((low <= [*shift, zoom]) & ([*shift, zoom] <= high)).all()
    assert collides(seeds, RELEASE).tolist() == expected.tolist()
    assert 0 < expected.sum() < 150


def test_seeds_that_are_alone_in_their_images_cost_nothing():
    """A million of them, less than a second."""
    places, sides = np.full((1_000_000, 2), 48.0), np.full(1_000_000, 32.0)
    began = time.process_time()
    assert not collides(Seeds(image=np.arange(1_000_000), centre=places, side=sides), RELEASE).any()
    assert time.process_time() - began < 1
