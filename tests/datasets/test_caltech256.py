"""Caltech-256, on a small archive in its true format: a plain tar of numbered class folders."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import caltech256
from exemplar.datasets.base import Labeled, load_images
from exemplar.errors import UserError

Pack = Callable[[str, dict[str, bytes]], Path]
Picture = Callable[..., bytes]


@pytest.fixture
def archive(pack: Pack, picture: Picture) -> Path:
    """Three classes of 31, 34 and 36 pictures, the clutter, and what the authors left behind in the real archive."""
    counts = {"001.ak47": 31, "002.american-flag": 34, "256.toad": 36, "257.clutter": 5}
    files = {
        f"256_ObjectCategories/{name}/{name[:3]}_{number:04}.jpg": picture(number, size=(80, 30 + number))
        for name, count in counts.items()
        for number in range(1, count + 1)
    }
    files["256_ObjectCategories/198.spider/RENAME2"] = b"#!/bin/sh\n"
    files["256_ObjectCategories/056.dog/greg/vision309/x.jpg"] = b""
    return pack("256_ObjectCategories.tar", files)


def test_unlabeled_images_are_those_of_the_object_classes(archive: Path, out: Path) -> None:
    """Clutter and left-over files are not among them; each is a square of 256 pixels, the right way up."""
    caltech256.write_unlabeled(archive, out)
    images = load_images(out)
    assert images.shape == (31 + 34 + 36, 3, 256, 256)
    assert (images[:, 0, 64, 64] > 240).all()
    assert (images[:, 1, 64, 64] < 16).all()
    greys = images[:31, :, [64, 192, 192], [192, 64, 192]].astype(int) - 3 * np.arange(1, 32)[:, None, None]
    assert abs(greys).max() < 12


def test_ten_splits_of_30_for_training_and_the_rest_for_testing(archive: Path, out: Path) -> None:
    """Every picture of a class is in its training or its test images."""
    caltech256.write_labeled(archive, out)
    written = Labeled.load(out)
    assert written.classes == ("001.ak47", "002.american-flag", "256.toad")
    assert (written.train.shape, written.test.shape) == ((10, 90), (10, 1 + 4 + 6))
    for train, test in zip(written.train, written.test, strict=True):
        assert np.bincount(written.labels[train]).tolist() == [30, 30, 30]
        assert sorted([*train, *test]) == list(range(101))


def test_a_picture_that_is_there_twice_is_told(archive: Path, out: Path, picture: Picture) -> None:
    """It could be trained on and tested on at once."""
    with tarfile.open(archive, "a") as tar:
        info = tarfile.TarInfo("256_ObjectCategories/001.ak47/001_0001.jpg")
        info.size = len(picture())
        tar.addfile(info, io.BytesIO(picture()))
    with pytest.raises(UserError, match=r"has '001.ak47/001_0001.jpg' twice"):
        caltech256.write_unlabeled(archive, out)


def test_a_tar_that_was_cut_between_two_members_is_told(archive: Path, out: Path) -> None:
    """Fewer pictures are never taken for all of them: a tar without its closing block is not whole."""
    with tarfile.open(archive) as tar:
        middle = tar.getmembers()[50].offset
    archive.write_bytes(archive.read_bytes()[:middle])
    with pytest.raises(UserError, match=r"256_ObjectCategories.tar is cut, corrupt"):
        caltech256.write_unlabeled(archive, out)
