"""Features far wider than there are training images, in the axes of the space that these images span.

A linear model with an L2 penalty, and cosines, see no more of an image than its products with the training images and
its length. So m + 1 numbers stand for each image: m coordinates in the span of the m training images, and the length
of what lies outside of it. They come from blocks of columns, and neither all scaled features nor weights for each of
them are ever in memory: the 7,680 training images of a fold of Caltech-256 take 0.5 GB in place of 6 GB as raw pixels,
and their SVMs' weights for 30 values of C 0.2 GB in place of 6 GB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from exemplar.probe.features import Features, copy_part

MOST_BYTES = 512 << 20  # of a fold's scaled training features; wider ones are brought to their span
COLUMNS_AT_ONCE, BYTES_AT_ONCE = 4096, 256 << 20
RIDGE = 1e-6  # of the mean square of the images' lengths: equal images, whose span lacks a dimension, stay solvable


def is_wide(extracted: Features, train: Int64[np.ndarray, " m"]) -> bool:
    """Whether the features of these training images are too many to be scaled whole, and more than the images."""
    width = extracted.values.shape[1]
    return bool(len(train) < width and len(train) * width * extracted.values.itemsize > MOST_BYTES)


@dataclass(frozen=True)
class Span:
    """The axes of some training images: `lower` has their coordinates, the Cholesky factor of their products."""

    extracted: Features
    divisors: Sequence[float]
    train: Int64[np.ndarray, " m"]
    lower: Float[Tensor, "m m"]

    @classmethod
    def of(
        cls, extracted: Features, divisors: Sequence[float], train: Int64[np.ndarray, " m"], device: torch.device
    ) -> "Span":
        """Find the axes."""
        gram = torch.zeros(len(train), len(train), dtype=torch.float64, device=device)
        for columns in columns_of(extracted, divisors, train, device):
            wide = columns.double()
            gram.addmm_(wide, wide.T)
        gram.diagonal().add_(RIDGE * float(gram.diagonal().mean()))
        return cls(extracted, divisors, train, torch.linalg.cholesky(gram))

    def training(self) -> Float[Tensor, "m axes"]:
        """The training images, none of which has anything outside of their span."""
        return pad(self.lower.float(), (0, 1))

    def blocks(self, rows: Int64[np.ndarray, " n"]) -> Iterator[Float[Tensor, "b axes"]]:
        """Other images, some at once."""
        at_once = max(1, BYTES_AT_ONCE // self.lower[:1].nbytes)
        for block in np.split(rows, range(at_once, len(rows), at_once)):
            yield self.project(block)

    def project(self, rows: Int64[np.ndarray, " b"]) -> Float[Tensor, "b axes"]:
        """The coordinates of images and the length of what lies outside of the span."""
        device = self.lower.device
        products = self.lower.new_zeros(len(rows), len(self.train))
        squares = self.lower.new_zeros(len(rows))
        pairs = zip(
            *(columns_of(self.extracted, self.divisors, each, device) for each in (rows, self.train)), strict=True
        )
        for ours, theirs in pairs:
            products += ours @ theirs.T
            squares += ours.double().square().sum(1)
        inside = torch.linalg.solve_triangular(self.lower, products.T, upper=False).T
        outside = (squares - inside.square().sum(1)).clamp_min(0).sqrt()
        return torch.cat([inside, outside[:, None]], 1).float()

    def unproject(self, weights: Float[Tensor, "classes extended"]) -> Float[Tensor, "classes d"]:
        """Weights for the scaled features themselves, the last that of the intercept, from those in these axes."""
        device, inside = self.lower.device, weights[:, : len(self.train)].double()
        dual = torch.linalg.solve_triangular(self.lower.T, inside.T, upper=True).T.float()
        columns = [dual @ each for each in columns_of(self.extracted, self.divisors, self.train, device)]
        return torch.cat([*columns, weights[:, -1:]], 1)


def columns_of(
    extracted: Features, divisors: Sequence[float], rows: Int64[np.ndarray, " n"], device: torch.device
) -> Iterator[Float[Tensor, "n c"]]:
    """The scaled features of some images, COLUMNS_AT_ONCE or fewer at a time, none of two blocks."""
    for block, divisor in zip(extracted.blocks, divisors, strict=True):
        for first in range(block.start, block.stop, COLUMNS_AT_ONCE):
            part = slice(first, min(first + COLUMNS_AT_ONCE, block.stop))
            columns = copy_part(extracted.values, rows, part)
            yield torch.from_numpy(columns).to(device).div_(divisor)
