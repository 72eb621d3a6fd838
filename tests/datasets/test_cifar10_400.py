"""CIFAR-10 with 400 labels a class, on archives in its true format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import cifar10, cifar10_400
from exemplar.datasets.base import Labeled, load_images
from exemplar.errors import UserError

Pack = Callable[[str, dict[str, bytes]], Path]
Files = Callable[..., dict[str, bytes]]


def test_unlabeled_images_are_those_of_cifar10(pack: Pack, cifar: Files, out: Path) -> None:
    """No test image is among what is trained on, and no label decides which images are."""
    archive = pack("c.tar", cifar())
    cifar10.write_unlabeled(archive, out, unlabeled_side=32)
    expected = np.array(load_images(out))
    cifar10_400.write_unlabeled(archive, out, unlabeled_side=32)
    assert np.array_equal(load_images(out), expected)


def test_ten_selections_of_400_a_class(pack: Pack, cifar: Files, out: Path) -> None:
    """`cifar10_400` trains on 400 images of each class, ten times, and tests on the whole test set every time."""
    archive = pack("c.tar", cifar(1000))
    cifar10_400.write_labeled(archive, out, unlabeled_side=32)
    written = Labeled.load(out)
    assert (written.train.shape, written.test.shape) == ((10, 4000), (10, 1000))
    assert (np.sort(written.test) == np.arange(5000, 6000)).all()
    for row in written.train:
        assert np.bincount(written.labels[row]).tolist() == [400] * 10
        assert len(np.unique(row)) == 4000
        assert row.max() < 5000
    assert len({tuple(sorted(row)) for row in written.train.tolist()}) == 10
    cifar10_400.write_labeled(archive, out, unlabeled_side=32)
    assert np.array_equal(Labeled.load(out).train, written.train)


def test_too_few_images_for_400_a_class_is_told(pack: Pack, cifar: Files, out: Path) -> None:
    """The class, what it has and what the protocol needs are named."""
    with pytest.raises(UserError, match="the class 'airplane' has 10 images; the protocol needs at least 400"):
        cifar10_400.write_labeled(pack("c.tar.gz", cifar(20)), out, unlabeled_side=32)
