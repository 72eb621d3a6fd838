"""CIFAR's batches, read out of the file that Python's pickle has written and without running it as a program."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from exemplar.datasets.fetching import pickled
from exemplar.datasets.fetching.archives import members
from exemplar.datasets.images import growing, stretched
from exemplar.errors import UserError
from exemplar.runtime.progress import track

SIDE_PIXELS, MOST_SIDE_PIXELS = 32, 2048
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
FILES = (*TRAIN_BATCHES, "test_batch", "batches.meta")
MOST_BYTES = 1 << 26  # a batch has 31 million
Content = dict[bytes, object]


class Batch(NamedTuple):
    """Images and the labels that belong to them."""

    images: UInt8[np.ndarray, "n 3 32 32"]
    labels: Int64[np.ndarray, " n"]


def read_batches(archive: Path | None) -> tuple[Batch, Batch, tuple[str, ...]]:
    """The training batches in order as one, the test batch, and the names of the classes."""
    contents: dict[str, Content] = {}
    for member in members(archive):
        name = member.path.name
        if name in contents:
            raise UserError(f"{archive} has {name!r} twice; expected the Python version of CIFAR-10")
        if name in FILES:
            contents[name] = unpickle(member.read(most_bytes=MOST_BYTES), name=f"{archive}: {name!r}")
    for name in FILES:
        if name not in contents:
            raise UserError(f"{archive} lacks {name!r}; expected the Python version of CIFAR-10")
    classes = class_names(contents["batches.meta"], name=f"{archive}: 'batches.meta'")
    batches = {
        name: to_batch(contents[name], classes=len(classes), name=f"{archive}: {name!r}")
        for name in (*TRAIN_BATCHES, "test_batch")
    }
    train = [batches[name] for name in TRAIN_BATCHES]
    joined = Batch(np.concatenate([part.images for part in train]), np.concatenate([part.labels for part in train]))
    return joined, batches["test_batch"], classes


def write_training_images(archive: Path | None, folder: Path, *, side_pixels: int) -> None:
    """Write the training images into `folder`, enlarged to this side (bicubic), without their labels.

    Raises UserError for a side below 32, which would lose what the images show, and beyond 2,048.
    """
    if not SIDE_PIXELS <= side_pixels <= MOST_SIDE_PIXELS:
        raise UserError(
            f"unlabeled_side is {side_pixels}; expected {SIDE_PIXELS} pixels, as CIFAR's images have, to "
            f"{MOST_SIDE_PIXELS:,}"
        )
    train, _, _ = read_batches(archive)
    with (
        growing(folder / "images.npy", side_pixels=side_pixels) as images,
        track(total=len(train.images), unit="images", label="unlabeled") as progress,
    ):
        for image in train.images:
            picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            images.append(stretched(picture, side_pixels=side_pixels)[None])
            progress.advance(1)


def unpickle(content: bytes, *, name: str) -> Content:
    """Read one pickled dictionary."""
    try:
        loaded = pickled.load(content)
    except Exception as error:  # what is broken can fail in any way
        raise UserError(f"{name} is no batch of CIFAR's format ({type(error).__name__}: {error})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{name} is no batch of CIFAR's format; expected a dictionary")
    return loaded


def to_batch(content: Content, *, classes: int, name: str) -> Batch:
    """Check one batch and give it its shape: rows of 1024 red, 1024 green and 1024 blue values."""
    data, labels = content.get(b"data"), content.get(b"labels")
    rows = data.rows if isinstance(data, pickled.Bytes) else np.empty((0, 0), np.uint8)
    if rows.ndim != 2 or rows.shape[1] != 3 * SIDE_PIXELS**2 or not len(rows):
        raise UserError(f"{name} has no images of {3 * SIDE_PIXELS**2} bytes each under 'data'")
    numbers = labels if isinstance(labels, list) else []
    if len(numbers) != len(rows) or not all(type(label) is int and 0 <= label < classes for label in numbers):
        raise UserError(f"{name}: 'labels' does not match; expected {len(rows):,} numbers between 0 and {classes - 1}")
    return Batch(rows.reshape(-1, 3, SIDE_PIXELS, SIDE_PIXELS), np.array(numbers, np.int64))


def class_names(content: Content, *, name: str) -> tuple[str, ...]:
    """The names of the classes, in the order of their labels."""
    names = content.get(b"label_names")
    if not isinstance(names, list) or not names or not all(isinstance(each, bytes) for each in names):
        raise UserError(f"{name} has no list of names under 'label_names'")
    return tuple(each.decode("utf-8", "replace") for each in names)
