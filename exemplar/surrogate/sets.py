"""The surrogate set: class k is seed k under K rows of the transformation table (paper, section 2).

Nothing is rendered to disk. Each seed keeps a window of its image, wide enough for every square that the ranges can ask
for, and batches are cut out of these windows on the device. Fine-tuning uses the same set with labels for classes.
"""

import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError
from exemplar.io.arrays import load_array, map_array
from exemplar.runtime.progress import track
from exemplar.surrogate import fused, transformation, trial
from exemplar.surrogate.draws import HELD_OUT, Draws
from exemplar.surrogate.gathering import gather
from exemplar.surrogate.ranges import RELEASE

DRAWS_FILE = "draws.json"
MEAN_BATCH = 256
MOST_SAMPLES = 5_000_000  # behind the mean; its standard error is below 0.0002 then
Batch = tuple[Float[Tensor, "b 3 32 32"], Int64[Tensor, " b"]]


@dataclass(frozen=True)
class SurrogateSet:
    """Windows, where the seeds lie in them, and what decides the samples of each seed.

    `window_index[k]` is the window of seed k and `label[k]` its class. Centres (x, y) and sides are in the
    window's pixels. `held_out` more samples of each seed are never trained on.
    """

    windows: UInt8[Tensor, "m 3 h w"]
    window_index: Int64[Tensor, " n"]
    label: Int64[Tensor, " n"]
    centre: Float[Tensor, "n 2"]
    side: Float[Tensor, " n"]
    basis: Float[Tensor, "3 3"]
    colour_mean: Float[Tensor, " 3"]
    draws: Draws
    held_out: int = 1

    def __len__(self) -> int:
        return len(self.label) * self.draws.samples

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the windows."""
        return self.windows.shape[3], self.windows.shape[2]

    def tensors(self) -> dict[str, Tensor]:
        """What lies on a device, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device) -> "SurrogateSet":
        """The same set on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.tensors().items()}
        return replace(self, **moved)

    def unseen(self) -> "SurrogateSet":
        """The set of the samples that are held out."""
        return replace(self, draws=replace(self.draws, first=HELD_OUT, samples=self.held_out))

    def rows(self, indices: Int64[Tensor, " b"]) -> Float[Tensor, "b p"]:
        """Rows of the transformation table; index i is sample i % K of seed i // K."""
        seed, sample = indices // self.draws.samples, indices % self.draws.samples
        return self.draws.rows(seed, sample, centre=self.centre[seed], side=self.side[seed], size=self.size)

    def render(self, indices: Int64[Tensor, " b"]) -> Batch:
        """Samples (0..1) and their classes."""
        return self.transform(indices // self.draws.samples, self.rows(indices)), self.classes(indices)

    def classes(self, indices: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """The classes of samples, which are not rendered for it."""
        return self.label[indices // self.draws.samples]

    def first_seeds(self) -> Int64[Tensor, " c"]:
        """The first seed of every class."""
        first = np.unique(self.label.cpu().numpy(), return_index=True)[1]
        return torch.from_numpy(first).to(self.label.device)

    def transform(self, seed: Int64[Tensor, " b"], rows: Float[Tensor, "b p"]) -> Float[Tensor, "b 3 32 32"]:
        """Samples (0..1) of seeds under rows of a table; on a GPU of one kernel, where it works there."""
        if len(seed) and fused.works("samples", seed.device, apart):
            return self.transform_fused(seed, rows)
        return self.transform_plainly(seed, rows)

    def transform_fused(self, seed: Int64[Tensor, " b"], rows: Float[Tensor, "b p"]) -> Float[Tensor, "b 3 32 32"]:
        """Samples by the kernel, channels last. Raises whatever Triton does where it is not there or cannot compile."""
        from exemplar.surrogate.kernels import samples

        return samples.render(
            seed,
            rows,
            windows=self.windows,
            window_index=self.window_index,
            centre=self.centre,
            side=self.side,
            basis=self.basis,
            mean=self.colour_mean,
        )

    def transform_plainly(self, seed: Int64[Tensor, " b"], rows: Float[Tensor, "b p"]) -> Float[Tensor, "b 3 32 32"]:
        """Samples by PyTorch's operations."""
        images = gather(self.windows, self.window_index[seed])
        return transformation.transform(
            images, rows, centre=self.centre[seed], side=self.side[seed], basis=self.basis, mean=self.colour_mean
        )

    def save(self, folder: Path, *, windows: bool = True) -> None:
        """Write a .npy file for each array into `folder`; windows that are mapped from their file are there already."""
        for name, values in self.tensors().items():
            if windows or name != "windows":
                np.save(folder / f"{name}.npy", values.numpy())
        self.draws.save(folder / DRAWS_FILE)

    @classmethod
    def load(cls, folder: Path) -> "SurrogateSet":
        """Read what `save` wrote, on the CPU; windows are mapped, and take no memory until they are read."""
        remedy = f"remove {folder} and run the surrogate stage again"

        def read(name: str, kind: type[np.generic], *shape: int | None) -> Tensor:
            return torch.from_numpy(load_array(folder / f"{name}.npy", kind=kind, shape=shape, remedy=remedy))

        windows = map_array(folder / "windows.npy", kind=np.uint8, shape=(None, 3, None, None), remedy=remedy)
        label = read("label", np.int64, None)
        surrogate = cls(
            windows=unwritten(windows),
            window_index=read("window_index", np.int64, len(label)),
            label=label,
            centre=read("centre", np.float32, len(label), 2),
            side=read("side", np.float32, len(label)),
            basis=read("basis", np.float32, 3, 3),
            colour_mean=read("colour_mean", np.float32, 3),
            draws=Draws.load(folder / DRAWS_FILE, remedy=remedy),
        )
        if reason := surrogate.contradiction():
            raise UserError(f"cannot use the surrogate set {folder} ({reason}); {remedy}")
        return surrogate

    def contradiction(self) -> str | None:
        """What cannot be: a seed in a window that is not there or beside its window, a class beyond their number."""
        size = self.centre.new_tensor(self.size)
        if self.window_index.min() < 0 or self.window_index.max() >= len(self.windows):
            return f"window_index.npy names window {self.window_index.max()}, but there are {len(self.windows)} windows"
        if self.label.min() < 0 or self.label.max() >= len(self.label):
            return f"label.npy holds up to {self.label.max()}, but there are {len(self.label)} seeds"
        if (self.side <= 0).any() or (self.centre < 0).any() or (self.centre > size).any():
            return "centre.npy or side.npy names a square beside its window"
        return None


def apart(device: torch.device) -> Float[Tensor, "b 3 32 32"]:
    """How far samples of the kernel are from those of PyTorch's operations, for samples that are always the same."""
    surrogate, seed, rows = tried()
    surrogate, seed, rows = surrogate.to(device), seed.to(device), rows.to(device)
    return surrogate.transform_fused(seed, rows) - surrogate.transform_plainly(seed, rows)


def tried() -> tuple[SurrogateSet, Int64[Tensor, " b"], Float[Tensor, "b p"]]:
    """The set that kernels are tried on, the seed of each sample, and its row under the ranges of the release."""
    (centre, side), (seed, sample) = trial.squares(), trial.indices()
    axes = torch.tensor([[1.0, -2, 1], [1, 0, -1], [1, 1, 1]])
    surrogate = SurrogateSet(
        windows=trial.windows(),
        window_index=torch.arange(trial.SEEDS).flip(0),
        label=torch.arange(trial.SEEDS),
        centre=centre,
        side=side,
        basis=(axes / axes.norm(dim=1, keepdim=True)).T,
        colour_mean=torch.tensor([0.45, 0.5, 0.4]),
        draws=Draws(trial.KEY, trial.SAMPLES, RELEASE),
    )
    rows = surrogate.draws.rows(seed, sample, centre=centre[seed], side=side[seed], size=surrogate.size)
    return surrogate, seed, trial.calm(rows)


def unwritten(array: np.ndarray) -> Tensor:
    """An array that nobody writes to, perhaps because it cannot be written, as a tensor that shares its memory."""
    with warnings.catch_warnings(action="ignore"):  # PyTorch's, that it cannot be written
        return torch.from_numpy(array)


def spaced(count: int, most: int) -> Int64[Tensor, " m"]:
    """The places of all of `count` things, or of `most` at equal distances."""
    taken = min(count, most)
    whole, rest = divmod(count, taken)
    return torch.arange(taken) * whole + torch.arange(taken) * rest // taken


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
