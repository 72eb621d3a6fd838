"""How many seeds images can give, said in seconds: by their number and size, and by a sample of them."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from exemplar.datasets.base import PATCH_PIXELS, copy_images
from exemplar.datasets.streams import numpy_stream
from exemplar.errors import UserError
from exemplar.io.arrays import Mapped, prefetch
from exemplar.surrogate.energy import room
from exemplar.surrogate.rounds import draw_from

SAMPLE, SAMPLE_BYTES = 2000, 56 << 20  # images: so many of 96 x 96 pixels, or fewer large ones
FEWEST = 100  # fewer would say too little
DOUBT = 10.0  # the mean of all is further from the sample's than is said with a chance of 3 * e ** -10 at most


def plan(
    images: UInt8[np.ndarray, "n 3 h w"],
    *,
    count: int,
    scales: Sequence[float],
    most_overlap: float | None,
    random_seed: int,
) -> tuple[list[float], int]:
    """The scales at which a seed fits an image, and how many rounds through all images should give `count` seeds.

    Of many images a sample says the number of rounds. Raises UserError where they cannot give that many.
    """
    usable = require_room(images, count=count, scales=scales, most_overlap=most_overlap)
    size, needed = min(SAMPLE, SAMPLE_BYTES // math.prod(images.shape[1:])), -(-count // len(images))
    if size < FEWEST or len(images) <= size:
        return usable, needed
    most = room_of_one(images, scales=usable, most_overlap=most_overlap)
    which = numpy_stream(random_seed, "sample of images").choice(len(images), size, replace=False)
    rounds, given = needed, np.zeros(0, np.int64)
    while not len(given) or (given == rounds).any():
        rounds *= 2
        given = seeds_of(images, np.sort(which), rounds=rounds, scales=usable, most_overlap=most_overlap)
        if given.min() >= needed:
            return usable, needed
        for turns in range(needed, rounds + 1):
            mean, error = mean_of(given.clip(max=turns), most=min(turns, most))
            if (mean - error) * len(images) >= count:
                return usable, turns
    mean, error = mean_of(given, most=most)
    if (mean + error) * len(images) < count:
        raise UserError(
            f"seeds.count is {count}, but these {len(images)} images give about {mean * len(images):.0f} seeds, as "
            f"{size} of them say" + at(most_overlap)
        )
    return usable, rounds


def at(most_overlap: float | None) -> str:
    """The end of a line about too many seeds."""
    return f" at seeds.most_overlap {most_overlap}; lower count" if most_overlap is not None else "; lower it"


def seeds_of(
    images: UInt8[np.ndarray, "n 3 h w"],
    which: Int64[np.ndarray, " s"],
    *,
    rounds: int,
    scales: Sequence[float],
    most_overlap: float | None,
) -> Int64[np.ndarray, " s"]:
    """How many seeds each of some images gives in so many rounds."""
    if isinstance(images, Mapped):
        prefetch(images, which.tolist())
    some, numbers = torch.from_numpy(copy_images(images, which)), torch.arange(len(which))
    rows = draw_from(some, numbers, key=0, rounds=rounds, scales=scales, most_overlap=most_overlap)
    return np.bincount(rows[:, 1].astype(np.int64), minlength=len(which))


def mean_of(given: Int64[np.ndarray, " s"], *, most: int) -> tuple[float, float]:
    """The mean of a sample, and how far that of all may be from it (Audibert, Munos and Szepesvari 2009, theorem 1).

    `most` is what one image may give: that none of the sample gives anything does not say that no other one does.
    """
    error = math.sqrt(2 * given.var() * DOUBT / len(given)) + 3 * most * DOUBT / len(given)
    return float(given.mean()), error


def require_room(
    images: UInt8[np.ndarray, "n 3 h w"], *, count: int, scales: Sequence[float], most_overlap: float | None
) -> list[float]:
    """The scales at which a seed fits an image; raises UserError where none is, or no room for `count` seeds.

    It looks at the images' number and size only.
    """
    usable = [scale for scale in scales if int(min(images.shape[2:]) * scale + 1e-6) >= PATCH_PIXELS]
    if not usable:
        needed = math.ceil(1000 * PATCH_PIXELS / min(images.shape[2:])) / 1000
        raise UserError(
            f"seeds.scales {list(scales)} make images of {images.shape[2]} x {images.shape[3]} smaller than seeds; "
            + (f"expected a scale of at least {needed}" if needed <= 1 else f"expected {PATCH_PIXELS} pixels or more")
        )
    most = len(images) * room_of_one(images, scales=usable, most_overlap=most_overlap)
    if count > most:
        raise UserError(
            f"seeds.count is {count}, but these {len(images)} images have room for {most} at most; lower it"
        )
    return usable


def room_of_one(images: UInt8[np.ndarray, "n 3 h w"], *, scales: Sequence[float], most_overlap: float | None) -> int:
    """How many seeds an image of this size gives at most."""
    return sum(room(images.shape[2:], scale, most_overlap=most_overlap) for scale in scales)
