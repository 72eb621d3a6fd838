"""Images as users have them, paths, PIL images, arrays or tensors, one or many -> batches of RGB between 0 and 1."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from exemplar.datasets.images import channels_first, cropped, decode, eight_bit, opaque, upright
from exemplar.errors import UserError

Images = Any  # what a user hands over; the functions below say what is wrong with it
LAYOUTS = "[3 h w] or [h w 3], or many of them, [n 3 h w] or [n h w 3]"


def is_one(images: Images) -> bool:
    """Whether this is one image, and not many: a path, a PIL image, or an array of three axes."""
    return isinstance(images, str | os.PathLike | Image.Image) or getattr(images, "ndim", None) == 3


def to_batches(images: Images, *, side: int | None) -> Iterator[Tensor]:
    """The images in order as [n 3 h w], those of one array together; an iterable is read one by one and may be endless.

    Pictures are scaled to squares of `side` pixels, if it is given. Raises UserError for what can be no images.
    """
    if is_one(images) or hasattr(images, "ndim"):
        yield to_batch(images, side=side)
    elif isinstance(images, Iterable) and not isinstance(images, bytes | dict):
        for image in images:
            yield to_batch(image, side=side)
    else:
        raise UserError(f"{type(images).__name__} is no image; expected a path, a PIL image, an array or a tensor")


def to_batch(images: Images, *, side: int | None) -> Tensor:
    """One image, or the images of one array, as [n 3 h w] of the numbers that came."""
    if isinstance(images, str | os.PathLike):
        return to_array(decode(Path(images), name=os.fspath(images)), side=side)
    if isinstance(images, Image.Image):
        return to_array(opaque(eight_bit(upright(images), bits=16)), side=side)
    if isinstance(images, np.ndarray) and images.dtype.kind in "biuf":
        images = torch.from_numpy(np.array(images))
    if not isinstance(images, Tensor):
        raise UserError(f"{type(images).__name__} is no image; expected a path, a PIL image, an array or a tensor")
    return in_planes(images)


def to_array(picture: Image.Image, *, side: int | None) -> Tensor:
    """A picture that is upright already as bytes [1 3 h w]."""
    return torch.from_numpy(np.array(cropped(picture, side_pixels=side) if side else channels_first(picture)))[None]


def in_planes(images: Tensor) -> Tensor:
    """The images as [n 3 h w]; raises UserError for a shape that has no axis of three colours, or two."""
    batch = images[None] if images.ndim == 3 else images
    if batch.ndim != 4 or batch.numel() == 0:
        raise UserError(f"images of the shape {list(images.shape)}; expected {LAYOUTS}")
    first, last = batch.shape[1] == 3, batch.shape[3] == 3
    if first == last:
        said = (
            "both axes could be the colours" if first else "no axis has three colours (repeat a grey one, drop alpha)"
        )
        raise UserError(f"images of the shape {list(images.shape)}: {said}; expected {LAYOUTS}")
    return batch if first else batch.permute(0, 3, 1, 2)


def unit_range(images: Tensor) -> Float[Tensor, "n 3 h w"]:
    """Bytes or floats as floats between 0 and 1; raises UserError for any other numbers."""
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.dtype.is_floating_point:
        raise UserError(f"images of {images.dtype}; expected bytes (uint8, 0 to 255) or floats between 0 and 1")
    low, high = (float(value) for value in images.aminmax())
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"images with values from {low:g} to {high:g}; expected floats between 0 and 1, or bytes (uint8, 0 to 255)"
        )
    return images.float()


def middle_square(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 s s"]:
    """The largest square in the middle of every image."""
    height, width = images.shape[2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return images[:, :, top : top + short, left : left + short]
