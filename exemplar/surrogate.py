"""The surrogate set: class k is seed k under K rows of the transformation table (paper, section 2).

Nothing is rendered to disk. Each seed keeps a window of its image, wide enough for every square that the ranges can ask
for, and batches are cut out of these windows on the device. Fine-tuning uses the same set with labels for classes.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar import transformation
from exemplar.arrays import load_array
from exemplar.errors import UserError
from exemplar.progress import track
from exemplar.ranges import Ranges
from exemplar.seeds import Seeds, copied, smooth
from exemplar.transformation import PATCH_PIXELS

REDRAWS = 64
CONTEXT = 1.25  # an image at least so many times wider than its seed has samples of its own to draw; docs/log.md
MEAN_BATCH = 256


@dataclass(frozen=True)
class SurrogateSet:
    """Windows, where the seeds lie in them, and the table of `samples` rows per seed.

    `owner[k]` is the window of seed k and `target[k]` its class. Centres (x, y) and sides are in the window's pixels.
    """

    windows: UInt8[Tensor, "m 3 h w"]
    owner: Int64[Tensor, " n"]
    target: Int64[Tensor, " n"]
    centre: Float[Tensor, "n 2"]
    side: Float[Tensor, " n"]
    table: Float[Tensor, "n k p"]
    basis: Float[Tensor, "3 3"]
    colour_mean: Float[Tensor, " 3"]

    def __len__(self) -> int:
        return self.table.shape[0] * self.table.shape[1]

    def to(self, device: torch.device) -> "SurrogateSet":
        """The same set on another device."""
        return SurrogateSet(*(getattr(self, field.name).to(device) for field in fields(self)))

    def render(self, indices: Int64[Tensor, " b"]) -> tuple[Float[Tensor, "b 3 32 32"], Int64[Tensor, " b"]]:
        """Samples (0..1) and their classes; index i is row i % K of seed i // K."""
        seed, row = indices // self.table.shape[1], indices % self.table.shape[1]
        return self.cut(seed, self.table[seed, row]), self.target[seed]

    def cut(self, seed: Int64[Tensor, " b"], rows: Float[Tensor, "b p"]) -> Float[Tensor, "b 3 32 32"]:
        """Samples (0..1) of seeds under rows of a table."""
        images = self.windows.index_select(0, self.owner[seed])  # plain indexing took 25 times as long
        return transformation.transform(
            images, rows, centre=self.centre[seed], side=self.side[seed], basis=self.basis, mean=self.colour_mean
        )

    def save(self, folder: Path) -> None:
        """Write one .npy file per field into `folder`."""
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name).numpy())

    @classmethod
    def load(cls, folder: Path) -> "SurrogateSet":
        """Read what `save` wrote, on the CPU."""
        remedy = f"remove {folder} and run the surrogate stage again"

        def read(name: str, kind: type[np.generic], *shape: int | None) -> Tensor:
            return torch.from_numpy(load_array(folder / f"{name}.npy", kind=kind, shape=shape, remedy=remedy))

        table = read("table", np.float32, None, None, len(transformation.COLUMNS))
        found = cls(
            windows=read("windows", np.uint8, None, 3, None, None),
            owner=read("owner", np.int64, len(table)),
            target=read("target", np.int64, len(table)),
            centre=read("centre", np.float32, len(table), 2),
            side=read("side", np.float32, len(table)),
            table=table,
            basis=read("basis", np.float32, 3, 3),
            colour_mean=read("colour_mean", np.float32, 3),
        )
        if reason := found.contradiction():
            raise UserError(f"cannot use the surrogate set {folder} ({reason}); {remedy}")
        return found

    def contradiction(self) -> str | None:
        """What cannot be: a seed in a window that is not there or beside its window, a class beyond their number."""
        size = self.centre.new_tensor([self.windows.shape[3], self.windows.shape[2]])
        if self.owner.min() < 0 or self.owner.max() >= len(self.windows):
            return f"owner.npy names windows up to {self.owner.max()}, and there are {len(self.windows)} windows"
        if self.target.min() < 0 or self.target.max() >= len(self.table):
            return f"target.npy holds up to {self.target.max()}, but there are {len(self.table)} seeds"
        if (self.side <= 0).any() or (self.centre < 0).any() or (self.centre > size).any():
            return "centre.npy or side.npy names a square beside its window"
        return None


def reach(ranges: Ranges) -> float:
    """How far from its centre a transformed seed of side 1 can reach, along x or y."""
    steepest = math.radians(min(45.0, max(map(abs, ranges.angle_degrees))))
    corner = 0.5 * (math.cos(steepest) + math.sin(steepest))
    return (corner + max(map(abs, ranges.shift_fraction))) / ranges.scale_factor[0]


def cut_windows(
    images: UInt8[np.ndarray, "m 3 h w"], seeds: Seeds, *, reach: float
) -> tuple[UInt8[np.ndarray, "n 3 v u"], Float[np.ndarray, "n 2"]]:
    """A window of real pixels around each seed, as far as its image goes, and the seed's centre (x, y) in the window.

    Seeds wider than 32 pixels are smoothed, because sampling them at 32 x 32 would alias.
    """
    needed = 2 * math.ceil(reach * float(seeds.side.max())) + 2
    height, width = (min(needed, side) for side in images.shape[2:])
    corner = np.floor(seeds.centre - np.array([width, height]) / 2).astype(np.int64)
    corner = corner.clip(0, np.array(images.shape[:1:-1]) - (width, height))
    windows = np.empty((len(seeds.image), 3, height, width), np.uint8)
    for index, (image, (x, y), side) in enumerate(zip(seeds.image, corner, seeds.side, strict=True)):
        picture = copied(images, slice(image, image + 1))[0].numpy()
        windows[index] = smooth_window(picture[:, y : y + height, x : x + width], side / PATCH_PIXELS)
    return windows, seeds.centre - corner


def smooth_window(window: UInt8[np.ndarray, "3 h w"], ratio: float) -> UInt8[np.ndarray, "3 h w"]:
    """Low-pass a window that will be sampled `ratio` times coarser (Gaussian, the width that scikit-image uses)."""
    if ratio <= 1:
        return window
    channels = torch.from_numpy(window.astype(np.float32))[:, None]
    return smooth(channels, (ratio - 1) / 2)[:, 0].round().byte().numpy()


def principal_components(windows: UInt8[Tensor, "m 3 h w"]) -> tuple[Float[Tensor, "3 3"], Float[Tensor, " 3"]]:
    """Axes (columns, by growing variance) and mean of the colours of all pixels, in units of 0..1."""
    total, product, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64), 0
    for chunk in torch.split(windows, 256):
        pixels = chunk.transpose(0, 1).flatten(1).double() / 255
        total, product, count = total + pixels.sum(1), product + pixels @ pixels.T, count + pixels.shape[1]
    mean = total / count
    axes = torch.linalg.eigh(product / count - mean[:, None] * mean).eigenvectors
    return (axes * axes.sum(0).sign()).float(), mean.float()


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
    owner = torch.arange(len(side)).repeat_interleave(samples)
    rows = transformation.draw_geometry(count, ranges, generator=generator)

    def leaving(some: Int64[Tensor, " m"]) -> Int64[Tensor, " l"]:
        seed = owner[some]
        return some[~transformation.inside(rows[some], centre=centre[seed], side=side[seed], size=size)]

    outside = leaving(torch.arange(count))
    has_context = (CONTEXT * side <= min(size))[owner[outside]]
    again, mirrored = outside[has_context], outside[~has_context]
    for _ in range(REDRAWS):
        if len(again) == 0:
            break
        rows[again] = transformation.draw_geometry(len(again), ranges, generator=generator)
        again = leaving(again)
    table = torch.cat([rows, transformation.draw_colours(count, ranges, generator=generator)], 1)
    return table.view(len(side), samples, -1), (len(again) + len(mirrored)) / count


def build(
    images: UInt8[np.ndarray, "m 3 h w"], seeds: Seeds, *, samples: int, ranges: Ranges, random_seed: int
) -> tuple[SurrogateSet, float]:
    """The surrogate set of seeds, one class each, and the fraction of its samples that is mirrored at a border."""
    if seeds.image.max() >= len(images):
        raise UserError(
            f"a seed is cut from image {seeds.image.max()}, but there are {len(images)}; run the seeds stage again"
        )
    cut, centre = cut_windows(images, seeds, reach=reach(ranges))
    windows, classes = torch.from_numpy(cut), torch.arange(len(cut))
    where = {"centre": torch.from_numpy(centre).float(), "side": torch.from_numpy(seeds.side).float()}
    table, mirrored = draw_table(
        **where,
        size=(windows.shape[3], windows.shape[2]),
        samples=samples,
        ranges=ranges,
        generator=torch.Generator().manual_seed(random_seed),
    )
    basis, colour_mean = principal_components(windows)
    return SurrogateSet(
        windows=windows, owner=classes, target=classes, table=table, basis=basis, colour_mean=colour_mean, **where
    ), mirrored


def measure_mean(surrogate: SurrogateSet, *, device: torch.device) -> Float[Tensor, "3 32 32"]:
    """The per-pixel mean over all samples, each rendered once (0..1)."""
    there = surrogate.to(device)
    total = torch.zeros(3, PATCH_PIXELS, PATCH_PIXELS, dtype=torch.float64, device=device)
    with track(total=len(surrogate), unit="samples", label="mean") as progress:
        for indices in torch.split(torch.arange(len(surrogate), device=device), MEAN_BATCH):
            total += there.render(indices)[0].sum(0, dtype=torch.float64)
            progress.advance(len(indices))
    return (total / len(surrogate)).float().cpu()


def save_mean(mean: Float[Tensor, "3 32 32"], folder: Path) -> None:
    """Write the mean beside the surrogate set that it belongs to."""
    np.save(folder / "mean.npy", mean.numpy())


def load_mean(folder: Path) -> Float[Tensor, "3 32 32"]:
    """Read what `save_mean` wrote."""
    path, remedy = folder / "mean.npy", f"remove {folder} and run the surrogate stage again"
    mean = load_array(path, kind=np.float32, shape=(3, PATCH_PIXELS, PATCH_PIXELS), remedy=remedy)
    if mean.min() < 0 or mean.max() > 1:
        raise UserError(f"cannot read {path} (its numbers are not between 0 and 1); {remedy}")
    return torch.from_numpy(mean)
