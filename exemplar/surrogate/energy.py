"""Maps of gradient energy: how likely each place of an image is to become a seed, and where its cells lie."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.surrogate.kernels.smoothing import smooth

STEP = 4
HIGH_PASS_SIGMA, SMOOTHING_SIGMA = 2.0, 2.0  # cells of the map
BORDER = 5
NEIGHBOURHOOD = 2  # cells around a drawn one, in which none is drawn again
SMALLEST_ENERGY = 1e-9


def energy_maps(images: UInt8[Tensor, "b 3 h w"], scale: float) -> Float[Tensor, "b g v"]:
    """The energy around every 4th pixel of the images scaled by `scale`; 0 where a patch would leave the image.

    An image whose scaled side is between 32 and 40 pixels has room for one patch only, in its middle.
    """
    coarse = images[:, :, ::STEP, ::STEP].float() / 255
    size = cells_of(images.shape[-2:], scale)
    grey = functional.interpolate(coarse, size, mode="bilinear", antialias=True).sum(1, keepdim=True)
    energy = smooth((grey - smooth(grey, HIGH_PASS_SIGMA)) ** 2, SMOOTHING_SIGMA)[:, 0].clamp_min(0)
    if min(size) <= 2 * BORDER:
        return energy.mean((1, 2), keepdim=True)
    inner = energy[:, BORDER:-BORDER, BORDER:-BORDER]
    return functional.pad(inner, [BORDER] * 4)


def cells_of(size: Sequence[int], scale: float) -> list[int]:
    """How many cells high and wide the map of an image of `size` (height, width) is."""
    return [-(-int(side * scale + 1e-6) // STEP) for side in size]


def room(size: Sequence[int], scale: float, *, most_overlap: float | None) -> int:
    """How many seeds of one scale an image may give at most: of cells that exclude each other, a square holds one."""
    cells, near = cells_of(size, scale), NEIGHBOURHOOD
    if min(cells) <= 2 * BORDER:
        return 1
    while most_overlap is not None and overlap_at(near + 1) > most_overlap + 1e-9:
        near += 1
    return math.prod(-(-(side - 2 * BORDER) // (near + 1)) for side in cells)


def overlap_at(cells: int) -> float:
    """Intersection over union of two seeds of one scale, so many cells apart in both directions."""
    common = max(PATCH_PIXELS - cells * STEP, 0) ** 2
    return common / (2 * PATCH_PIXELS**2 - common)


def centres(
    cells: Int64[np.ndarray, "n 2"], shape: tuple[int, int], scale: float, size: tuple[int, int]
) -> Float[np.ndarray, "n 2"]:
    """The pixel positions (x, y) of map cells (row, column) in an image of `size` (height, width)."""
    if shape == (1, 1):
        return np.tile(np.array(size[::-1], np.float64) / 2, (len(cells), 1))
    return (cells[:, ::-1] * STEP + 0.5) / scale


def has_energy(energy: Float[Tensor, "b g v"]) -> Bool[Tensor, " b"]:
    """Whether there is more in a map than what rounding leaves of a flat image."""
    return energy.mean((1, 2)) > SMALLEST_ENERGY


def overlaps(
    centre: Float[np.ndarray, "b 2"], side: float, *, shape: Sequence[int], scale: float, size: tuple[int, int]
) -> Float[np.ndarray, "b g v"]:
    """Intersection over union of seeds (`centre` x, y and `side`, pixels) with the square at each cell of a map."""
    cells = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), 2).reshape(-1, 2)
    other_centre, other = centres(cells, (shape[0], shape[1]), scale, size), PATCH_PIXELS / scale
    common = intersection(centre[:, None], side, other_centre, other)
    return (common / (side**2 + other**2 - common)).reshape(len(centre), *shape)


def intersection(
    centre: Float[np.ndarray, "*b 2"],
    side: float,
    other_centre: Float[np.ndarray, "*c 2"],
    other_side: float,
) -> Float[np.ndarray, "..."]:
    """The area (square pixels) that upright squares have in common."""
    lengths = (side + other_side) / 2 - np.abs(centre - other_centre)
    area: Float[np.ndarray, "..."] = lengths.clip(0, min(side, other_side)).prod(-1)
    return area
