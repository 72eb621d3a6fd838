"""Seeds and ranges -> the surrogate set: windows around the seeds, what decides their samples, the colours' axes."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.datasets.streams import torch_seed
from exemplar.errors import UserError
from exemplar.io.arrays import forget_pages, map_array
from exemplar.runtime import units
from exemplar.runtime.memory import at_once
from exemplar.runtime.units import Unit
from exemplar.surrogate import transformation
from exemplar.surrogate.draws import Draws
from exemplar.surrogate.gathering import gather
from exemplar.surrogate.kernels.smoothing import smooth
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds
from exemplar.surrogate.sets import SurrogateSet, spaced, unwritten

MOST_WINDOWS = 65_536  # behind the axes of the colours: 600 million pixels
WINDOWS = 2048  # of a unit; fewer large ones
IMAGES_AT_ONCE = 128  # mapped into memory
WINDOWS_FILE = "windows.npy"
MOST_ROWS, ROWS_AT_ONCE = 1_000_000, 4096  # behind the share that is mirrored; its standard error is below 0.0005 then


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
    windows, classes = unwritten(pixels), torch.arange(len(pixels))
    basis, colour_mean = principal_components(windows)
    surrogate = SurrogateSet(
        windows=windows,
        window_index=classes,
        label=classes,
        centre=torch.from_numpy(centre).float(),
        side=torch.from_numpy(seeds.side).float(),
        basis=basis,
        colour_mean=colour_mean,
        draws=Draws(torch_seed(random_seed, "samples"), samples, ranges),
    )
    return surrogate, mirrored_share(surrogate)


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
        for rows in units.ranges(len(seeds.image), at_once(WINDOWS, bytes_each=math.prod(shape[1:])))
    ]
    cut = partial(windows_of, images, (height, width))
    if folder is None:
        windows = np.concatenate([cut(piece)[0] for piece in pieces])
    else:
        file = folder / WINDOWS_FILE
        units.fill(file, cut, pieces, shape=shape, kind=np.uint8, things="windows", label="windows")
        windows = map_array(file, kind=np.uint8, shape=shape, remedy="run the stage again")
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
    for chosen in torch.split(spaced(len(windows), MOST_WINDOWS), at_once(256, bytes_each=windows[0].nbytes)):
        pixels = gather(windows, chosen).transpose(0, 1).flatten(1).double().div_(255)
        total, product, count = total + pixels.sum(1), product + pixels @ pixels.T, count + pixels.shape[1]
    mean = total / count
    axes = torch.linalg.eigh(product / count - mean[:, None] * mean).eigenvectors
    return axes.float(), mean.float()


def mirrored_share(surrogate: SurrogateSet) -> float:
    """The fraction of the samples, or of MOST_ROWS of them at equal distances, whose squares leave their windows."""
    leaving, chosen = 0, spaced(len(surrogate), MOST_ROWS)
    for indices in torch.split(chosen, ROWS_AT_ONCE):
        seed = indices // surrogate.draws.samples
        rows, centre, side = surrogate.rows(indices), surrogate.centre[seed], surrogate.side[seed]
        leaving += int((~transformation.inside(rows, centre=centre, side=side, size=surrogate.size)).sum())
    return leaving / len(chosen)
