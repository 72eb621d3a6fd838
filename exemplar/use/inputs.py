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

from exemplar.datasets.images import as_seen, channels_first, cropped, decode, explained
from exemplar.errors import UserError
from exemplar.tracking.serving import as_tensor, in_planes

Images = Any  # what a user hands over; the functions below say what is wrong with it


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
        with explained("the picture"):
            return to_array(as_seen(images), side=side)
    return in_planes(as_tensor(images))


def to_array(picture: Image.Image, *, side: int | None) -> Tensor:
    """A picture that is upright already as bytes [1 3 h w]."""
    return torch.from_numpy(np.array(cropped(picture, side_pixels=side) if side else channels_first(picture)))[None]


def middle_square(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 s s"]:
    """The largest square in the middle of every image."""
    height, width = images.shape[2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return images[:, :, top : top + short, left : left + short]
