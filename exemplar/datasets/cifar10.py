"""CIFAR-10 (Krizhevsky 2009): 32 x 32 colour images, 50,000 for training and 10,000 for testing.

Protocol (the paper, section 4): one fold, all of the training images and all of the test images.
"""

from pathlib import Path

import numpy as np

from exemplar.datasets.base import save_protocol
from exemplar.datasets.batches import SIDE_PIXELS, read_batches, write_training_images
from exemplar.datasets.images import growing


def write_unlabeled(archive: Path | None, folder: Path, *, unlabeled_side: int) -> None:
    """Write the training images into `folder`, without their labels, enlarged to `unlabeled_side` pixels."""
    write_training_images(archive, folder, side_pixels=unlabeled_side)


def write_labeled(archive: Path | None, folder: Path, *, unlabeled_side: int) -> None:
    """Write training and test images and their one fold into `folder`."""
    train, test, classes = read_batches(archive)
    with growing(folder / "images.npy", side_pixels=SIDE_PIXELS) as images:
        images.append(train.images)
        images.append(test.images)
    places = np.arange(images.count)
    save_protocol(
        folder,
        labels=np.concatenate([train.labels, test.labels]),
        train=places[None, : len(train.labels)],
        test=places[None, len(train.labels) :],
        classes=classes,
    )
