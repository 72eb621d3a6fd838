"""Encoder -> one pooled vector per image (paper, section 4.1), in float32 on every machine."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from exemplar.errors import UserError, say
from exemplar.io.arrays import forget_pages
from exemplar.io.integrity import require_space
from exemplar.models.images import images_at_once, resize
from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.device import Compute, enough_memory, more_room
from exemplar.runtime.progress import track

IMAGES_AT_ONCE, ROWS_AT_ONCE = 1000, 100
BYTES_AT_ONCE = 32 << 20  # of rows; a raw picture of 2048 x 2048 pixels has 50 MB
LARGEST_BLOCK = 512 << 20  # bytes that are copied to find a percentile
FLOAT_BYTES = 4
LARGEST_IN_MEMORY = 64 << 20  # bytes; what is larger takes a minute or longer to make, and is worth keeping from a kill

Forward = Callable[[UInt8[np.ndarray, "b 3 h w"]], list[Float[Tensor, "b _"]]]


@dataclass(frozen=True)
class Features:
    """One row per image; `blocks` are the columns of each layer and grid of cells, in this order."""

    values: Float[np.ndarray, "n d"]
    blocks: tuple[slice, ...]

    def scaled(self, divisors: Sequence[float], rows: Int64[np.ndarray, " m"]) -> Float[np.ndarray, "m d"]:
        """Some of the rows, every block divided by its divisor."""
        widths = [block.stop - block.start for block in self.blocks]
        scaled: Float[np.ndarray, "m d"] = copy_part(self.values, rows, slice(None))
        scaled /= np.repeat(np.asarray(divisors, np.float32), widths)
        return scaled


def copy_part(
    values: Float[np.ndarray, "n d"], rows: Int64[np.ndarray, " m"], columns: slice
) -> Float[np.ndarray, "m c"]:
    """Copy some rows of some columns; of a mapped file, the pages that were read no longer count as memory of ours.

    A few rows at a time, because a system may map a million bytes around each page that is read: without that, 4.2 of
    the 4.8 GB of Caltech-256's features counted, and with it less than 0.1 GB.
    """
    part = np.empty((len(rows), len(values[0, columns])), np.float32)
    few_rows = rows_at_once(part.shape[1])
    for first in range(0, len(rows), few_rows):
        few = slice(first, first + few_rows)
        part[few] = values[rows[few], columns]
        forget_pages(values)
    return part


def rows_at_once(width: int) -> int:
    """How many rows of this width are copied at once."""
    return max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // (FLOAT_BYTES * width)))


def measure(
    encoder: Encoder | Pixels,
    images: UInt8[np.ndarray, "n 3 h w"],
    *,
    side: int,
    cells: tuple[int, ...],
    compute: Compute,
    unfinished: Path | None = None,
) -> Features:
    """The pooled features of all images at `side` pixels: every layer but the softmax, in each grid of cells.

    Above LARGEST_IN_MEMORY they are written into the folder `unfinished` and mapped into memory, and a run that was
    killed goes on with the rows that are there.
    """
    what = f"features of {len(images):,} images at {side} x {side} pixels"
    with enough_memory(f"{what}; lower side of this dataset under probe in params.yaml, {more_room(compute.device)}"):
        encoder.to(compute.device).eval()
        forward = partial(forward_features, encoder, side=side, cells=cells, device=compute.device)
        ends = np.cumsum([0, *(block.shape[1] for block in forward(images[:1]))]).tolist()
        shape, batch = (len(images), ends[-1]), images_at_once(encoder, side, side, compute.device)
        if unfinished is None or FLOAT_BYTES * math.prod(shape) <= LARGEST_IN_MEMORY:
            values = np.empty(shape, np.float32)
            for start, rows in iter_feature_batches(forward, images, batch=batch):
                values[start : start + len(rows)] = rows
        else:
            values = append_features(forward, images, unfinished / "features", shape=shape, batch=batch)
        return Features(values, tuple(slice(a, b) for a, b in pairwise(ends)))


@contextmanager
def exact_inference() -> Iterator[None]:
    """No gradients, and convolutions in full float32 on a GPU too, where PyTorch would round their inputs to TF32."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def forward_features(
    encoder: Encoder | Pixels,
    images: UInt8[np.ndarray, "b 3 h w"],
    *,
    side: int,
    cells: tuple[int, ...],
    device: torch.device,
) -> list[Float[Tensor, "b _"]]:
    """The blocks of a batch: one tensor per layer and grid of cells."""
    with exact_inference():
        chunk = torch.from_numpy(np.array(images)).to(device)
        resized = resize(chunk.float() / 255, side).contiguous(memory_format=torch.channels_last)
        return encoder.extract_features(resized, cells)


def iter_feature_batches(
    forward: Forward, images: UInt8[np.ndarray, "n 3 h w"], *, batch: int, first: int = 0
) -> Iterator[tuple[int, Float[np.ndarray, "b d"]]]:
    """The rows of each batch behind the `first` images, and where they begin."""
    with track(total=len(images), unit="images", label="features", done=first) as progress:
        for start in range(first, len(images), batch):
            rows = torch.cat(forward(images[start : start + batch]), 1).cpu().numpy()
            yield start, rows
            progress.advance(len(rows))


def append_features(
    forward: Forward, images: UInt8[np.ndarray, "n 3 h w"], path: Path, *, shape: tuple[int, int], batch: int
) -> np.memmap:
    """Append the rows that are not there yet to a file, and map it.

    An earlier run's rows count by whole batches: rounding depends on how many images are in one.
    """
    if path.is_symlink():  # it came with a copied repository, and may lead to any file
        path.unlink()
    row_bytes = FLOAT_BYTES * shape[1]
    kept = path.stat().st_size // row_bytes if path.exists() else 0
    kept = kept // batch * batch if kept < len(images) else len(images)
    require_space(path.parent, needed_bytes=(len(images) - kept) * row_bytes)
    with path.open("ab") as file:
        file.truncate(kept * row_bytes)
        for _, rows in iter_feature_batches(forward, images, batch=batch, first=kept):
            file.write(rows.data)
    return np.memmap(path, np.float32, "r", shape=shape)


def mean_colour(images: UInt8[np.ndarray, "n 3 h w"], rows: Int64[np.ndarray, " m"]) -> Float[Tensor, " 3"]:
    """The mean of each channel over all pixels of some images (0..1)."""
    parts = np.split(rows, range(IMAGES_AT_ONCE, len(rows), IMAGES_AT_ONCE))
    total = np.sum([images[part].sum((0, 2, 3), dtype=np.int64) for part in parts], 0)
    return torch.from_numpy(total / (len(rows) * math.prod(images.shape[2:])) / 255).float()


def percentiles(features: Features, *, rows: Int64[np.ndarray, " m"], percentile: float) -> list[float]:
    """A high percentile of each block over some rows, by which it is divided before the SVM; 1 where that is 0."""
    highest = (block_percentile(features.values, block, rows=rows, percentile=percentile) for block in features.blocks)
    return [value if value > 0 else 1.0 for value in highest]


def block_percentile(
    values: Float[np.ndarray, "n d"], block: slice, *, rows: Int64[np.ndarray, " m"], percentile: float
) -> float:
    """A percentile of one block over some rows; beyond LARGEST_BLOCK bytes, from the few values that lie above it."""
    number = len(rows) * (block.stop - block.start)
    if FLOAT_BYTES * number <= LARGEST_BLOCK:
        return float(np.percentile(copy_part(values, rows, block), percentile, overwrite_input=True))
    place = (number - 1) * percentile / 100  # between these two of the sorted values, as NumPy's own rule has it
    below = math.floor(place)
    above = np.empty(0, np.float32)
    at_once = max(1, LARGEST_BLOCK * len(rows) // (4 * FLOAT_BYTES * number))
    for part in np.split(rows, range(at_once, len(rows), at_once)):
        above = largest(np.concatenate([above, copy_part(values, part, block).ravel()]), number - below)
    above.sort()
    return float(np.interp(place - below, [0, 1], above[:2].astype(np.float64))) if len(above) > 1 else float(above[0])


def largest(values: Float[np.ndarray, " n"], count: int) -> Float[np.ndarray, " k"]:
    """The `count` largest values, or all where there are no more."""
    return values if len(values) <= count else np.partition(values, len(values) - count)[-count:]


def require_sound(features: Features) -> None:
    """Raise UserError for features that are not finite or all constant; say which blocks are constant if only some are.

    A block is what a layer gives in one grid of cells.
    """
    constant = constant_columns(features)
    dead = [index for index, block in enumerate(features.blocks, start=1) if constant[block].all()]
    if constant.all():
        raise UserError(
            f"all {len(constant):,} features are the same for each of the {len(features.values):,} images: "
            "the encoder is dead; lower train.learning_rate in params.yaml and train it again"
        )
    if dead:
        say(
            f"warning: the features of {', '.join(map(str, dead))} of {len(features.blocks)} blocks (layer by layer) "
            "are the same for every image; lower train.learning_rate in params.yaml if these layers should matter"
        )


def constant_columns(features: Features) -> Bool[np.ndarray, " d"]:
    """Which features are the same for all images; raises UserError for one that is not finite."""
    lowest = highest = features.values[0]
    few_rows = rows_at_once(features.values.shape[1])
    for first in range(0, len(features.values), few_rows):
        these = np.arange(first, min(first + few_rows, len(features.values)))
        rows = copy_part(features.values, these, slice(None))
        lowest, highest = np.minimum(lowest, rows.min(0)), np.maximum(highest, rows.max(0))  # NaN stays NaN
        if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
            broken = first + int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            raise UserError(
                f"the encoder gives features of image {broken} that are not finite; lower train.learning_rate in "
                "params.yaml, or set compute.precision to float32, and train it again"
            )
    same: Bool[np.ndarray, " d"] = lowest == highest
    return same
