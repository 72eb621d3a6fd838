"""Caltech-256 (Griffin, Holub, Perona 2007): 29,780 pictures of 256 classes, the clutter class left out.

Protocol (the paper, section 4): 256 x 256 pixels; 10 random splits with 30 training images a class, all of the others
for testing, 22,100 together.
"""

from pathlib import Path, PurePosixPath

from exemplar.datasets import caltech

SIDE_PIXELS = 256


def write_unlabeled(archive: Path | None, folder: Path) -> None:
    """Write the pictures of all classes into `folder`."""
    write_images(archive, folder)


def write_labeled(archive: Path | None, folder: Path) -> None:
    """Write the pictures and 10 random splits into `folder`."""
    caltech.save_splits(folder, write_images(archive, folder), test_per_class=None)


def write_images(archive: Path | None, folder: Path) -> list[PurePosixPath]:
    """Write the pictures and return their paths."""
    return caltech.write_images(
        archive, folder, root="256_ObjectCategories", left_out="257.clutter", side_pixels=SIDE_PIXELS
    )
