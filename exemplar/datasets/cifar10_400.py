"""CIFAR-10 with few labels (the paper's "CIFAR-10(400)").

Protocol (the paper, section 4): 10 random selections of 400 training images a class, all of the test images. Ours are
drawn by `splits.py`; those in the authors' release may not be passed on.
"""

from pathlib import Path

import numpy as np

from exemplar.datasets.base import save_protocol
from exemplar.datasets.batches import SIDE_PIXELS, read_batches, write_training_images
from exemplar.datasets.images import growing
from exemplar.datasets.splits import draw_orders, require_members, take

FOLDS, TRAIN_PER_CLASS = 10, 400


def write_unlabeled(archive: Path | None, folder: Path, *, unlabeled_side: int) -> None:
    """Write the training images into `folder`, without their labels, enlarged to `unlabeled_side` pixels."""
    write_training_images(archive, folder, side_pixels=unlabeled_side)


def write_labeled(archive: Path | None, folder: Path, *, unlabeled_side: int) -> None:
    """Write all images and the 10 selections into `folder`."""
    train, test, classes = read_batches(archive)
    groups = [np.flatnonzero(train.labels == label) for label in range(len(classes))]
    require_members(groups, classes, least=TRAIN_PER_CLASS)
    with growing(folder / "images.npy", side_pixels=SIDE_PIXELS) as images:
        images.append(train.images)
        images.append(test.images)
    save_protocol(
        folder,
        labels=np.concatenate([train.labels, test.labels]),
        train=take(draw_orders(groups, folds=FOLDS), 0, TRAIN_PER_CLASS),
        test=np.tile(np.arange(len(train.labels), images.count), (FOLDS, 1)),
        classes=classes,
    )
