"""Encoder -> one pooled vector per image (paper, section 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar.device import Compute
from exemplar.network import Encoder, Pixels
from exemplar.progress import track

BATCH_PIXELS = 8 * 96 * 96  # the widest maps then stay below the blocks that device.py keeps


@dataclass(frozen=True)
class Features:
    """One row per image; `blocks` are the columns of each layer and grid of cells, in this order."""

    values: Float[np.ndarray, "n d"]
    blocks: tuple[slice, ...]

    def scaled(self, divisors: Sequence[float]) -> Float[np.ndarray, "n d"]:
        """The rows with every block divided by its number."""
        widths = [block.stop - block.start for block in self.blocks]
        return self.values / np.repeat(np.asarray(divisors, np.float32), widths)


def resize(images: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 s s"]:
    """Images of `side` pixels; bicubic, as the release enlarges CIFAR's."""
    if images.shape[2:] == (side, side):
        return images
    from torchvision.transforms.v2 import InterpolationMode, functional  # 1.5 s of start-up that few stages need

    resized: Tensor = functional.resize(images, [side, side], InterpolationMode.BICUBIC, antialias=True)
    return resized.clamp(0, 1)


def measure(
    encoder: Encoder | Pixels,
    images: UInt8[np.ndarray, "n 3 h w"],
    *,
    side: int,
    cells: tuple[int, ...],
    compute: Compute,
) -> Features:
    """The pooled features of all images at `side` pixels: every layer but the softmax, in each grid of cells."""
    encoder.to(compute.device).eval()
    rows, widths = [], list[int]()
    batch = max(1, BATCH_PIXELS // side**2)
    with track(total=len(images), unit="images", label="features") as progress, torch.inference_mode():
        for start in range(0, len(images), batch):
            chunk = torch.from_numpy(np.array(images[start : start + batch])).to(compute.device)
            resized = resize(chunk.float() / 255, side).contiguous(memory_format=torch.channels_last)
            with compute.autocast():
                blocks = encoder.describe(resized, cells)
            widths = [block.shape[1] for block in blocks]
            rows.append(torch.cat([block.float() for block in blocks], 1).cpu().numpy())
            progress.advance(len(chunk))
    ends = np.cumsum([0, *widths]).tolist()
    return Features(np.concatenate(rows), tuple(slice(a, b) for a, b in pairwise(ends)))


def mean_colour(images: UInt8[np.ndarray, "n 3 h w"]) -> Float[Tensor, " 3"]:
    """The mean of each channel over all pixels (0..1)."""
    return torch.from_numpy(images.mean((0, 2, 3)) / 255).float()


def percentiles(features: Features, *, rows: Int64[np.ndarray, " m"], percentile: float) -> list[float]:
    """A high percentile of each block over some rows, by which it is divided before the SVM; 1 where that is 0."""
    found = (float(np.percentile(features.values[rows, block], percentile)) for block in features.blocks)
    return [value if value > 0 else 1.0 for value in found]


def describe(
    encoder: Encoder | Pixels, images: UInt8[np.ndarray, "n 3 h w"], *, cells: tuple[int, ...]
) -> Float[np.ndarray, "n d"]:
    """Pooled features of images of any size as they are, on the CPU, unscaled: what the logged model answers."""
    encoder.eval()
    batch = max(1, BATCH_PIXELS // (images.shape[2] * images.shape[3]))
    with torch.inference_mode():
        chunks = torch.split(torch.from_numpy(np.array(images)), batch)
        rows = [torch.cat(encoder.describe(chunk.float() / 255, cells), 1) for chunk in chunks]
    return torch.cat(rows).numpy()
