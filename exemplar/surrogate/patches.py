"""Patches of whole unlabeled images, for tasks that ask about a picture instead of telling seeds apart.

A row of the table names one or more squares and whatever else is drawn for them. All chance is in the table: a row is
rendered the same by any process, on any device, in any batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.surrogate.gathering import gather
from exemplar.surrogate.kernels import geometry

FINE = 1.25  # squares that shrink by more than this are sampled at twice the resolution and averaged
MEASURED_ROWS = 4096
SEED_SIDES = (32.0, 62.0)  # pixels, of the narrowest and the widest seeds
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)

Rows = tuple[Float[Tensor, "b p 3 32 32"], dict[str, Tensor]]


@dataclass(frozen=True)
class Patches:
    """`image`, `centre` (x, y) and `side`, in pixels, of the p squares of each row; `columns` hold the rest, by row.

    A column `mirrored` of ones and zeros says which rows are seen from behind; the others mean what their task says.
    `held_out` are rows of the same kind that nobody trains on.
    """

    images: UInt8[Tensor, "m 3 h w"]
    image: Int64[Tensor, "n p"]
    centre: Float[Tensor, "n p 2"]
    side: Float[Tensor, "n p"]
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    held_out: "Patches | None" = None

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device) -> "Patches":
        """The same rows on another device, whole: what a subclass adds stays."""
        return replace(
            self,
            images=self.images.to(device),
            image=self.image.to(device),
            centre=self.centre.to(device),
            side=self.side.to(device),
            columns={name: values.to(device) for name, values in self.columns.items()},
            held_out=self.held_out and self.held_out.to(device),
        )

    def unseen(self) -> "Patches":
        """The rows that are held out."""
        if self.held_out is not None:
            return self.held_out
        none = {name: values[:0] for name, values in self.columns.items()}
        return replace(self, image=self.image[:0], centre=self.centre[:0], side=self.side[:0], columns=none)

    @cached_property
    def fine(self) -> int:
        """How many times finer squares are sampled than they are shown; found once, as it waits for the device."""
        return 2 if float(self.side.max()) > FINE * PATCH_PIXELS else 1

    def render(self, indices: Int64[Tensor, " b"]) -> Rows:
        """Patches (0..1) of some rows, and their columns."""
        fine = self.fine
        squares = self.squares(indices, fine * PATCH_PIXELS)
        if fine > 1:
            squares = functional.avg_pool2d(squares.flatten(0, 1), fine).view(
                *squares.shape[:3], PATCH_PIXELS, PATCH_PIXELS
            )
        return squares, {name: values[indices] for name, values in self.columns.items()}

    def squares(self, indices: Int64[Tensor, " b"], size: int) -> Float[Tensor, "b p 3 s s"]:
        """The squares (0..1) of some rows at `size` x `size` places, each sampled once."""
        points = geometry.pixel_points(size, device=indices.device)
        flip = torch.ones(len(indices), 1, 1, 2, device=indices.device)
        if "mirrored" in self.columns:
            flip[..., 0] = 1 - 2 * self.columns["mirrored"][indices].float()[:, None, None]
        where = self.centre[indices][:, :, None] + self.side[indices][:, :, None, None] * points * flip
        images = gather(self.images, self.image[indices].flatten())
        cut = geometry.cut(images, where.flatten(0, 1), size)
        return cut.view(len(indices), -1, *cut.shape[1:])


@cache
def luma_weights(device: torch.device) -> Float[Tensor, "3 1 1"]:
    """LUMA on a device, copied there once: a step would wait for the copy."""
    with torch.inference_mode(mode=False):
        return torch.tensor(LUMA, device=device)[:, None, None]


def greyed(patches: Float[Tensor, "b p 3 h w"], grey: Bool[Tensor, " b"]) -> Float[Tensor, "b p 3 h w"]:
    """All patches of some rows without colour, to the digit in either precision: no product of matrices is rounded."""
    luma = (patches * luma_weights(patches.device)).sum(2, keepdim=True)
    return torch.where(grey[:, None, None, None, None], luma, patches)


def whole_numbers(limit: int, count: int, generator: torch.Generator) -> Int64[Tensor, " count"]:
    """Numbers from 0 to below a limit, each as likely as the others."""
    return torch.randint(limit, (count,), generator=generator)


def between(low: float, high: float, count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Numbers spread evenly between two bounds."""
    return low + (high - low) * torch.rand(count, generator=generator)


def places(side: Float[Tensor, " n"], size: tuple[int, int], generator: torch.Generator) -> Float[Tensor, "n 2"]:
    """Centres (x, y) of squares of these sides, anywhere that they lie whole in an image of (width, height)."""
    room = torch.tensor(size) - side[:, None]
    return side[:, None] / 2 + room * torch.rand(len(side), 2, generator=generator)


def one_square(
    images: UInt8[np.ndarray, "m 3 h w"],
    *,
    count: int,
    sides: tuple[float, float],
    generator: torch.Generator,
    columns: Mapping[str, Tensor] | None = None,
) -> Patches:
    """Rows of one square each, anywhere in any image, its side even between two bounds that the images may narrow."""
    most = float(min(images.shape[2:]))
    side = between(min(sides[0], most), min(sides[1], most), count, generator)
    size = (images.shape[3], images.shape[2])
    return Patches(
        images=torch.from_numpy(images),
        image=whole_numbers(len(images), count, generator)[:, None],
        centre=places(side, size, generator)[:, None],
        side=side[:, None],
        columns=dict(columns or {}),
    )


def over_rows(data: Patches, measure: Callable[[Rows], Tensor]) -> Tensor:
    """What `measure` gives for the first 4,096 rows, in batches, one below the other: for constants of the data."""
    some = torch.arange(min(len(data), MEASURED_ROWS))
    return torch.cat([measure(data.render(part)) for part in torch.split(some, 64)])


def mean_colour(data: Patches) -> Float[Tensor, "3 32 32"]:
    """The mean of all pixels of the first 4,096 rows, everywhere the same: no place is more usual than another."""
    colour = over_rows(data, lambda rows: rows[0].mean((1, 3, 4))).mean(0)
    return colour[:, None, None].expand(3, PATCH_PIXELS, PATCH_PIXELS).clone()
