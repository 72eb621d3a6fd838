"""STL-10 (Coates, Lee, Ng 2011): 96 x 96 colour images, 100,000 without labels, 5,000 and 8,000 with.

The archive's binary files hold one image after the other, channel by channel, each channel column by column.
Protocol (the paper, section 4): 10 predefined folds of 1,000 training images, all 8,000 test images.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from exemplar.datasets.base import save_protocol
from exemplar.datasets.fetching.archives import Member, members
from exemplar.datasets.images import ImageFile, growing
from exemplar.errors import UserError
from exemplar.io.integrity import require_space

SIDE_PIXELS, FOLDS = 96, 10
IMAGE_BYTES = 3 * SIDE_PIXELS * SIDE_PIXELS
MOST_IMAGES = 100_000
IMAGES_PER_BLOCK = 256
SMALL_FILES = ("train_y.bin", "test_y.bin", "class_names.txt", "fold_indices.txt")


def write_unlabeled(archive: Path | None, folder: Path) -> None:
    """Write the unlabeled images into `folder`."""
    with growing(folder / "images.npy", side_pixels=SIDE_PIXELS) as images:
        for member in members(archive):
            if member.path.name == "unlabeled_X.bin":
                if images.count:
                    raise UserError(f"{archive} has 'unlabeled_X.bin' twice; expected STL-10's binary archive")
                append_images(member, images)
    if not images.count:
        raise UserError(f"{archive} lacks 'unlabeled_X.bin'; expected STL-10's binary archive")


def write_labeled(archive: Path | None, folder: Path) -> None:
    """Write training and test images and the predefined folds into `folder`."""
    spans: dict[str, range] = {}
    small: dict[str, bytes] = {}
    with growing(folder / "images.npy", side_pixels=SIDE_PIXELS) as images:
        for member in members(archive):
            name = member.path.name
            if name in spans or name in small:
                raise UserError(f"{archive} has {name!r} twice; expected STL-10's binary archive")
            if name in ("train_X.bin", "test_X.bin"):
                first = images.count
                append_images(member, images)
                spans[name] = range(first, images.count)
            elif name in SMALL_FILES:
                small[name] = member.read(most_bytes=1 << 20)
    for name in ("train_X.bin", "test_X.bin", *SMALL_FILES):
        if name not in spans and name not in small:
            raise UserError(f"{archive} lacks {name!r}; expected STL-10's binary archive")
    save_folds(archive, folder, train=spans["train_X.bin"], test=spans["test_X.bin"], small=small)


def append_images(member: Member, images: ImageFile) -> None:
    """Append the images of one binary file, upright."""
    count, rest = divmod(member.size, IMAGE_BYTES)
    if rest or not 0 < count <= MOST_IMAGES:
        raise UserError(
            f"{member.archive}: {str(member.path)!r} has {member.size:,} bytes; expected {IMAGE_BYTES:,} for each "
            f"of at most {MOST_IMAGES:,} images"
        )
    require_space(images.path.parent, needed_bytes=member.size)
    for block in member.blocks(IMAGES_PER_BLOCK * IMAGE_BYTES):
        columns = np.frombuffer(block, np.uint8).reshape(-1, 3, SIDE_PIXELS, SIDE_PIXELS)
        images.append(columns.transpose(0, 1, 3, 2))


def save_folds(archive: Path | None, folder: Path, *, train: range, test: range, small: dict[str, bytes]) -> None:
    """Save labels and folds; `train` and `test` are the places of the images in the file."""
    classes = tuple(small["class_names.txt"].decode("utf-8", "replace").splitlines())
    labels = np.empty(len(train) + len(test), np.int64)
    for name, span in (("train_y.bin", train), ("test_y.bin", test)):
        own = np.frombuffer(small[name], np.uint8)  # counted from 1
        if len(own) != len(span) or own.min() < 1 or own.max() > len(classes):
            raise misfit(archive, name, f"{len(span):,} labels between 1 and {len(classes)}")
        labels[span.start : span.stop] = own.astype(np.int64) - 1
    folds = read_folds(archive, small["fold_indices.txt"], images=len(train))
    everything = np.tile(np.asarray(test, np.int64), (FOLDS, 1))
    save_protocol(folder, labels=labels, train=folds + train.start, test=everything, classes=classes)


def read_folds(archive: Path | None, text: bytes, *, images: int) -> Int64[np.ndarray, "folds m"]:
    """The predefined folds, a line each, as places among the training images."""
    expected = f"{FOLDS} lines of equally many different numbers between 0 and {images - 1:,}"
    try:
        folds = np.array([line.split() for line in text.decode("ascii").splitlines() if line.strip()], dtype=np.int64)
    except (ValueError, OverflowError):
        raise misfit(archive, "fold_indices.txt", expected) from None
    in_range = folds.shape[:1] == (FOLDS,) and folds.min() >= 0 and folds.max() < images
    if not in_range or any(len(set(fold)) < len(fold) for fold in folds.tolist()):
        raise misfit(archive, "fold_indices.txt", expected)
    return folds


def misfit(archive: Path | None, name: str, expected: str) -> UserError:
    """The error for a file of the archive that does not match the others."""
    return UserError(f"{archive}: {name!r} does not match the images; expected {expected}")
