"""Colours as classes: what the tasks that predict the colours of a square have in common."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError
from exemplar.models.architecture import Conv
from exemplar.surrogate.kernels.colour import to_lab
from exemplar.surrogate.patches import LUMA, Patches, one_square, whole_numbers
from exemplar.training.normalized import Scores
from exemplar.training.trunk import Trunk

GREY = torch.tensor([LUMA]).repeat(3, 1)  # the same in all three channels
CELLS = 8  # of a square, along each side
SMALLEST_SIDE = 32.0  # pixels
LEAST_CHROMA = 5.0  # |a| or |b| of a pixel that makes an image one with colours (richzhang/colorization)
STEP, IMAGES_AT_ONCE = 4, 256


def lab_cells(patches: Float[Tensor, "b 3 32 32"]) -> Float[Tensor, "b 64 3"]:
    """L, a and b of each cell's mean colour, row by row."""
    return to_lab(functional.adaptive_avg_pool2d(patches, CELLS)).flatten(2).transpose(1, 2)


def coloured(images: UInt8[np.ndarray, "m 3 h w"]) -> Bool[np.ndarray, " m"]:
    """Which images have a pixel with |a| or |b| above 5, of every fourth pixel in every fourth row."""
    parts = []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        some = torch.from_numpy(images[start : start + IMAGES_AT_ONCE, :, ::STEP, ::STEP] / np.float32(255))
        parts.append((to_lab(some)[:, 1:].abs() > LEAST_CHROMA).flatten(1).any(1).numpy())
    return np.concatenate(parts)


def coloured_squares(images: UInt8[np.ndarray, "m 3 h w"], *, count: int, generator: torch.Generator) -> Patches:
    """Squares from 32 pixels to the image's width, as they are or mirrored, of images with colours if there are any."""
    usable = torch.from_numpy(np.flatnonzero(coloured(images)))
    patches = one_square(
        images,
        count=count,
        sides=(SMALLEST_SIDE, float(min(images.shape[2:]))),
        generator=generator,
        columns={"mirrored": whole_numbers(2, count, generator)},
    )
    if len(usable):
        patches.image.copy_(usable[whole_numbers(len(usable), count, generator)][:, None])
    return patches


def over_cells(values: Float[Tensor, "b 64 k"]) -> Float[Tensor, "b k 32 32"]:
    """Each cell's values at all of its pixels."""
    grid = values.transpose(1, 2).reshape(len(values), -1, CELLS, CELLS)
    return functional.interpolate(grid, scale_factor=PATCH_PIXELS / CELLS, mode="nearest")


class Bins(nn.Module):
    """Classes of colours: the squares of a grid (for one value: the intervals) that cells of the training fall into.

    `log_shares` has the logarithm of each one's share of those cells. Raises UserError where there is one class; `key`
    says which number of params.yaml the width is.
    """

    lowest: Tensor
    highest: Tensor
    classes: Tensor
    log_shares: Tensor
    centres: Tensor

    def __init__(self, values: Float[Tensor, "n k"], *, width: float, key: str) -> None:
        super().__init__()
        self.width = width
        places, counts = torch.unique((values / width).round(), dim=0, return_counts=True)
        if len(places) == 1:
            raise UserError(
                f"{key} {width:g}: all squares of the unlabeled images have one class of colour, and nothing can be "
                "learnt; use a smaller number, or images that differ in colour"
            )
        lowest, highest = places.amin(0), places.amax(0)
        axes = [torch.arange(int(low), int(high) + 1) for low, high in zip(lowest, highest, strict=True)]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).float()
        self.register_buffer("lowest", lowest)
        self.register_buffer("highest", highest)
        self.register_buffer("classes", torch.cdist(grid.flatten(0, -2), places).argmin(1).view(grid.shape[:-1]))
        self.register_buffer("log_shares", (counts / counts.sum()).log())
        self.register_buffer("centres", places * width, persistent=False)

    def __len__(self) -> int:
        return len(self.log_shares)

    def entropy(self) -> Float[Tensor, ""]:
        """The loss, in nats, of whoever answers these shares whatever he sees."""
        return -(self.log_shares.exp() * self.log_shares).sum()

    def of(self, values: Float[Tensor, "b c k"]) -> Int64[Tensor, "b c"]:
        """The class of each value; where the training had none, that of the nearest place on the grid that has one."""
        places = (values / self.width).round().clamp(self.lowest, self.highest) - self.lowest
        return self.classes[places.long().unbind(-1)]


class CellScores(nn.Module):
    """Scores of the bins for each cell: a linear layer on the last convolution's map there, and one on the last layer.

    Before any training it answers about the shares that the bins have.
    """

    def __init__(self, trunk: Trunk, bins: Bins, *, generator: torch.Generator) -> None:
        super().__init__()
        self.bins = bins
        self.index = sum(isinstance(layer, Conv) for layer in trunk.encoder.architecture) - 1
        self.here = Scores(trunk.encoder.convolutions()[self.index].out_channels, len(bins), generator=generator)
        self.everywhere = Scores(trunk.encoder.width, len(bins), generator=generator)
        with torch.no_grad():
            self.everywhere.bias.copy_(bins.log_shares)
        self.here.bias.requires_grad_(False)  # the other one is enough

    def forward(self, maps: list[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b 64 q"]:
        """Of the maps of all layers."""
        cells = functional.adaptive_avg_pool2d(maps[self.index], CELLS).flatten(2).transpose(1, 2)
        scores: Tensor = self.here(cells) + self.everywhere(maps[-1].flatten(1))[:, None]
        return scores

    def answered(self, maps: list[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b k 32 32"]:
        """The values in the middle of each cell's most likely bin, over the whole cell."""
        return over_cells(self.bins.centres[self(maps).argmax(2)])

    def loss(self, maps: list[Float[Tensor, "b _ _ _"]], values: Float[Tensor, "b 64 k"]) -> Float[Tensor, " b"]:
        """The mean cross-entropy over the cells of each row, in nats."""
        scores, targets = self(maps), self.bins.of(values)
        losses = functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
        return losses.view(targets.shape).mean(1)
