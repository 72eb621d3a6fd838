"""Seeds and ranges -> the surrogate set: windows around the seeds, the table of transformations, the colours' axes."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.datasets.streams import torch_stream
from exemplar.errors import UserError
from exemplar.io.arrays import forget_pages, map_array
from exemplar.runtime import units
from exemplar.runtime.units import Unit
from exemplar.surrogate import transformation
from exemplar.surrogate.kernels.smoothing import smooth
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds
from exemplar.surrogate.sets import SurrogateSet, spaced

REDRAWS = 64
HELD_OUT = 1  # samples of each class that are never trained on
MOST_WINDOWS = 65_536  # behind the axes of the colours: 600 million pixels
WINDOWS = 2048  # of a unit
IMAGES_AT_ONCE = 128  # mapped into memory
WINDOWS_FILE = "windows.npy"
CONTEXT = 1.25  # an image at least so many times wider than its seed has samples of its own to draw; docs/log.md


def build(
    images: UInt8[np.ndarray, "m 3 h w"],
    seeds: Seeds,
    *,
    samples: int,
    ranges: Ranges,
    random_seed: int,
    folder: Path | None = None,
) -> tuple[SurrogateSet, float]:
    """The surrogate set of seeds, one class each, and the fraction of its samples that is mirrored at a border.

    With `folder` the windows are written to a file there and mapped, and take no memory.
    """
    if seeds.image.max() >= len(images):
        raise UserError(
            f"a seed is cut from image {seeds.image.max()}, but there are {len(images)}; run the seeds stage again"
        )
    pixels, centre = cut_windows(images, seeds, reach=reach(ranges), folder=folder)
    windows, classes = torch.from_numpy(pixels), torch.arange(len(pixels))
    squares = {"centre": torch.from_numpy(centre).float(), "side": torch.from_numpy(seeds.side).float()}
    size = (windows.shape[3], windows.shape[2])
    stream = torch_stream(random_seed, "transformation table")
    table, mirrored = draw_table(**squares, size=size, samples=samples, ranges=ranges, generator=stream)
    stream = torch_stream(random_seed, "held-out samples")
    held_out, _ = draw_table(**squares, size=size, samples=HELD_OUT, ranges=ranges, generator=stream)
    basis, colour_mean = principal_components(windows)
    return SurrogateSet(
        windows=windows,
        window_index=classes,
        label=classes,
        table=table,
        held_out=held_out,
        basis=basis,
        colour_mean=colour_mean,
        **squares,
    ), mirrored


def reach(ranges: Ranges) -> float:
    """How far from its centre a transformed seed of side 1 can reach, along x or y."""
    steepest = math.radians(min(45.0, max(map(abs, ranges.angle_degrees))))
    corner = 0.5 * (math.cos(steepest) + math.sin(steepest))
    return (corner + max(map(abs, ranges.shift_fraction))) / ranges.scale_factor[0]


def cut_windows(
    images: UInt8[np.ndarray, "m 3 h w"], seeds: Seeds, *, reach: float, folder: Path | None = None
) -> tuple[UInt8[np.ndarray, "n 3 v u"], Float[np.ndarray, "n 2"]]:
    """A window of real pixels around each seed, as far as its image goes, and the seed's centre (x, y) in the window.

    Seeds wider than 32 pixels are smoothed, because sampling them at 32 x 32 would alias. With `folder` the windows are
    written to a file there, and those that are in it already are not cut again; they are mapped and take no memory.
    """
    needed = 2 * math.ceil(reach * float(seeds.side.max())) + 2
    height, width = (min(needed, side) for side in images.shape[2:])
    corner = np.floor(seeds.centre - np.array([width, height]) / 2).astype(np.int64)
    corner = corner.clip(0, np.array(images.shape[:1:-1]) - (width, height))
    shape = (len(seeds.image), 3, height, width)
    pieces = [
        Unit(rows, [each[rows.start : rows.stop] for each in (seeds.image, corner, seeds.side)])
        for rows in units.ranges(len(seeds.image), WINDOWS)
    ]
    cut = partial(windows_of, images, (height, width))
    if folder is None:
        windows = np.concatenate([cut(piece)[0] for piece in pieces])
    else:
        file = folder / WINDOWS_FILE
        units.fill(file, cut, pieces, shape=shape, kind=np.uint8, unit="windows", label="windows")
        windows = map_array(file, kind=np.uint8, shape=shape, remedy="run the stage again", mode="c")
    return windows, seeds.centre - corner


def windows_of(
    images: UInt8[np.ndarray, "m 3 h w"], size: tuple[int, int], unit: Unit
) -> tuple[UInt8[np.ndarray, "n 3 v u"], UInt8[np.ndarray, "0"]]:
    """The windows (height, width) of seeds, which come as their images, the windows' corners (x, y) and their sides.

    Nothing is to be noted of them.
    """
    windows = np.empty((len(unit.rows), 3, *size), np.uint8)
    for index, (image, (x, y), side) in enumerate(zip(*unit.of, strict=True)):
        window = images[image, :, y : y + size[0], x : x + size[1]]
        windows[index] = smooth_window(window, side / PATCH_PIXELS)
        if index % IMAGES_AT_ONCE == 0:
            forget_pages(images)
    return windows, np.empty(0, np.uint8)


def smooth_window(window: UInt8[np.ndarray, "3 h w"], ratio: float) -> UInt8[np.ndarray, "3 h w"]:
    """Low-pass a window that will be sampled `ratio` times coarser (Gaussian, the width that scikit-image uses)."""
    if ratio <= 1:
        return window
    channels = torch.from_numpy(window.astype(np.float32))[:, None]
    return smooth(channels, (ratio - 1) / 2)[:, 0].round().byte().numpy()


def principal_components(windows: UInt8[Tensor, "m 3 h w"]) -> tuple[Float[Tensor, "3 3"], Float[Tensor, " 3"]]:
    """Axes (columns, by growing variance) and mean of the colours of all pixels, in units of 0..1.

    The sign of an axis is free: `basis @ diag(factors) @ basis.T` does not change with it. Of more windows than
    MOST_WINDOWS, so many are taken at equal distances.
    """
    total, product, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64), 0
    for chosen in torch.split(spaced(len(windows), MOST_WINDOWS), 256):
        pixels = windows.index_select(0, chosen).transpose(0, 1).flatten(1).double() / 255
        total, product, count = total + pixels.sum(1), product + pixels @ pixels.T, count + pixels.shape[1]
    mean = total / count
    axes = torch.linalg.eigh(product / count - mean[:, None] * mean).eigenvectors
    return axes.float(), mean.float()


def draw_table(
    *,
    centre: Float[Tensor, "n 2"],
    side: Float[Tensor, " n"],
    size: tuple[int, int],
    samples: int,
    ranges: Ranges,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n k p"], float]:
    """Draw `samples` rows per seed in windows of `size` (width, height), and the fraction that still leaves its window.

    A square that would leave the image is drawn again up to 64 times, as the release drops it, so that samples come
    from real pixels. What is left then will be mirrored at the border, and so is all that leaves an image hardly wider
    than its seed (CIFAR's): drawn again until they fit, its samples would all be zoomed in and hardly shifted.
    """
    count = len(side) * samples
    seed_index = torch.arange(len(side)).repeat_interleave(samples)
    rows = transformation.draw_geometry(count, ranges, generator=generator)

    def leaving(some: Int64[Tensor, " m"]) -> Int64[Tensor, " l"]:
        seed = seed_index[some]
        return some[~transformation.inside(rows[some], centre=centre[seed], side=side[seed], size=size)]

    outside = leaving(torch.arange(count))
    has_context = (CONTEXT * side <= min(size))[seed_index[outside]]
    again, mirrored = outside[has_context], outside[~has_context]
    for _ in range(REDRAWS):
        rows[again] = transformation.draw_geometry(len(again), ranges, generator=generator)
        again = leaving(again)
    table = torch.cat([rows, transformation.draw_colours(count, ranges, generator=generator)], 1)
    return table.view(len(side), samples, -1), (len(again) + len(mirrored)) / count
