"""Caltech-101 (Fei-Fei, Fergus, Perona 2004): 8,677 pictures of 101 classes, the background class left out.

Protocol (the paper, section 4): 150 x 150 pixels; 10 random splits with 30 training images a class and at most 50 of
the others for testing, 2,945 together. The archive is a zip around `101_ObjectCategories.tar.gz`, or that file itself.
"""

from pathlib import Path, PurePosixPath

from exemplar.datasets import caltech

SIDE_PIXELS, TEST_PER_CLASS = 150, 50


def write_unlabeled(archive: Path | None, folder: Path) -> None:
    """Write the pictures of all classes into `folder`."""
    write_images(archive, folder)


def write_labeled(archive: Path | None, folder: Path) -> None:
    """Write the pictures and 10 random splits into `folder`."""
    paths = write_images(archive, folder)
    caltech.save_splits(folder, paths, test_per_class=TEST_PER_CLASS)


def write_images(archive: Path | None, folder: Path) -> list[PurePosixPath]:
    """Write the pictures and return their paths."""
    return caltech.write_images(
        archive, folder, root="101_ObjectCategories", left_out="BACKGROUND_Google", side_pixels=SIDE_PIXELS
    )
