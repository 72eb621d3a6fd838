"""The surrogate set: class k is seed k under K rows of the transformation table (paper, section 2).

Nothing is rendered to disk. Each seed keeps a window of its image, wide enough for every square that the ranges can ask
for, and batches are cut out of these windows on the device. Fine-tuning uses the same set with labels for classes.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError
from exemplar.io.arrays import load_array, map_array
from exemplar.runtime.progress import track
from exemplar.surrogate import transformation

MEAN_BATCH = 256
MOST_SAMPLES = 5_000_000  # behind the mean; its standard error is below 0.0002 then
Batch = tuple[Float[Tensor, "b 3 32 32"], Int64[Tensor, " b"]]


@dataclass(frozen=True)
class SurrogateSet:
    """Windows, where the seeds lie in them, and the table of `samples` rows per seed.

    `window_index[k]` is the window of seed k and `label[k]` its class. Centres (x, y) and sides are in the
    window's pixels. The rows of `held_out` are samples that nobody trains on.
    """

    windows: UInt8[Tensor, "m 3 h w"]
    window_index: Int64[Tensor, " n"]
    label: Int64[Tensor, " n"]
    centre: Float[Tensor, "n 2"]
    side: Float[Tensor, " n"]
    table: Float[Tensor, "n k p"]
    held_out: Float[Tensor, "n v p"]
    basis: Float[Tensor, "3 3"]
    colour_mean: Float[Tensor, " 3"]

    def __len__(self) -> int:
        return self.table.shape[0] * self.table.shape[1]

    def to(self, device: torch.device) -> "SurrogateSet":
        """The same set on another device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def unseen(self) -> "SurrogateSet":
        """The set of the samples that are held out."""
        return replace(self, table=self.held_out)

    def render(self, indices: Int64[Tensor, " b"]) -> Batch:
        """Samples (0..1) and their classes; index i is row i % K of seed i // K."""
        seed, row = indices // self.table.shape[1], indices % self.table.shape[1]
        return self.transform(seed, self.table[seed, row]), self.label[seed]

    def classes(self, indices: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """The classes of samples, which are not rendered for it."""
        return self.label[indices // self.table.shape[1]]

    def first_seeds(self) -> Int64[Tensor, " c"]:
        """The first seed of every class."""
        first = np.unique(self.label.cpu().numpy(), return_index=True)[1]
        return torch.from_numpy(first).to(self.label.device)

    def transform(self, seed: Int64[Tensor, " b"], rows: Float[Tensor, "b p"]) -> Float[Tensor, "b 3 32 32"]:
        """Samples (0..1) of seeds under rows of a table."""
        images = self.windows.index_select(0, self.window_index[seed])  # plain indexing took 25 times as long
        return transformation.transform(
            images, rows, centre=self.centre[seed], side=self.side[seed], basis=self.basis, mean=self.colour_mean
        )

    def save(self, folder: Path, *, windows: bool = True) -> None:
        """Write one .npy file per field into `folder`; windows that are mapped from their file are there already."""
        for field in fields(self):
            if windows or field.name != "windows":
                np.save(folder / f"{field.name}.npy", getattr(self, field.name).numpy())

    @classmethod
    def load(cls, folder: Path) -> "SurrogateSet":
        """Read what `save` wrote, on the CPU; windows are mapped, and take no memory until they are read."""
        remedy = f"remove {folder} and run the surrogate stage again"

        def read(name: str, kind: type[np.generic], *shape: int | None) -> Tensor:
            return torch.from_numpy(load_array(folder / f"{name}.npy", kind=kind, shape=shape, remedy=remedy))

        mapped = map_array(folder / "windows.npy", kind=np.uint8, shape=(None, 3, None, None), remedy=remedy, mode="c")
        table = read("table", np.float32, None, None, len(transformation.COLUMNS))
        surrogate = cls(
            windows=torch.from_numpy(mapped),
            window_index=read("window_index", np.int64, len(table)),
            label=read("label", np.int64, len(table)),
            centre=read("centre", np.float32, len(table), 2),
            side=read("side", np.float32, len(table)),
            table=table,
            held_out=read("held_out", np.float32, len(table), None, len(transformation.COLUMNS)),
            basis=read("basis", np.float32, 3, 3),
            colour_mean=read("colour_mean", np.float32, 3),
        )
        if reason := surrogate.contradiction():
            raise UserError(f"cannot use the surrogate set {folder} ({reason}); {remedy}")
        return surrogate

    def contradiction(self) -> str | None:
        """What cannot be: a seed in a window that is not there or beside its window, a class beyond their number."""
        size = self.centre.new_tensor([self.windows.shape[3], self.windows.shape[2]])
        if self.window_index.min() < 0 or self.window_index.max() >= len(self.windows):
            return f"window_index.npy names window {self.window_index.max()}, but there are {len(self.windows)} windows"
        if self.label.min() < 0 or self.label.max() >= len(self.table):
            return f"label.npy holds up to {self.label.max()}, but there are {len(self.table)} seeds"
        if (self.side <= 0).any() or (self.centre < 0).any() or (self.centre > size).any():
            return "centre.npy or side.npy names a square beside its window"
        return None


def spaced(count: int, most: int) -> Int64[Tensor, " m"]:
    """The places of all of `count` things, or of `most` at equal distances."""
    return torch.arange(min(count, most)) * count // min(count, most)


def measure_mean(surrogate: SurrogateSet, *, device: torch.device) -> Float[Tensor, "3 32 32"]:
    """The per-pixel mean over all samples, or MOST_SAMPLES of them, each rendered once (0..1)."""
    there = surrogate.to(device)
    total = torch.zeros(3, PATCH_PIXELS, PATCH_PIXELS, dtype=torch.float64, device=device)
    chosen = spaced(len(surrogate), MOST_SAMPLES).to(device)
    with track(total=len(chosen), unit="samples", label="mean") as progress:
        for indices in torch.split(chosen, MEAN_BATCH):
            total += there.render(indices)[0].sum(0, dtype=torch.float64)
            progress.advance(len(indices))
    return (total / len(chosen)).float().cpu()


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
