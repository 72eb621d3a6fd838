"""CIFAR-10, on small archives in its true format, as Python 2 wrote it and as Python 3 does."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import cifar10
from exemplar.datasets.base import Labeled, load_images
from exemplar.errors import UserError

Pack = Callable[[str, dict[str, bytes]], Path]
Files = Callable[..., dict[str, bytes]]
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize(("python", "by_columns"), [(2, False), (2, True), (3, False), (3, True)])
def test_one_fold_of_all_training_and_all_test_images(
    pack: Pack, cifar: Files, noise: Callable[..., np.ndarray], out: Path, python: int, by_columns: bool
) -> None:
    """Batches come in the order of their numbers; rows of 1024 red, green, blue values are images, row by row."""
    archive = pack("cifar-10-python.tar.gz", cifar(python=python, by_columns=by_columns))
    cifar10.write_labeled(archive, out, unlabeled_side=32)
    written = Labeled.load(out)
    assert np.array_equal(written.images, noise(120, 3072).reshape(-1, 3, 32, 32))
    assert written.labels.tolist() == [(number + place) % 10 for number in range(1, 7) for place in range(20)]
    assert written.train.tolist() == [list(range(100))]
    assert written.test.tolist() == [list(range(100, 120))]
    assert written.classes == NAMES


def test_unlabeled_images_are_the_training_images(
    pack: Pack, cifar: Files, noise: Callable[..., np.ndarray], out: Path
) -> None:
    """No test image is among what is trained on."""
    cifar10.write_unlabeled(pack("c.tar.gz", cifar()), out, unlabeled_side=32)
    assert np.array_equal(load_images(out), noise(120, 3072)[:100].reshape(-1, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("data_batch_2", {b"labels": [0] * 4, b"data": np.zeros((3, 3072), np.uint8)}, "expected 3 numbers between 0"),
        ("data_batch_2", {b"labels": [10], b"data": np.zeros((1, 3072), np.uint8)}, "'labels' does not match"),
        ("data_batch_2", {b"labels": [True], b"data": np.zeros((1, 3072), np.uint8)}, "'labels' does not match"),
        ("data_batch_2", {b"labels": b"1", b"data": np.zeros((1, 3072), np.uint8)}, "'labels' does not match"),
        ("data_batch_2", {b"labels": [1], b"data": np.zeros((1, 3071), np.uint8)}, "no images of 3072 bytes"),
        ("data_batch_2", {b"labels": [], b"data": np.zeros((0, 3072), np.uint8)}, "no batch of CIFAR's format"),
        ("data_batch_2", {b"labels": [1], b"data": [[0] * 3072]}, "no images of 3072 bytes"),
        ("data_batch_2", {b"labels": [1], b"data": np.zeros((1, 3072), np.int8)}, "the type 'i1'"),
        ("data_batch_2", {b"labels": [1], b"data": np.zeros((1, 3072), object)}, "the type 'O8'"),
        ("test_batch", [1, 2], "expected a dictionary"),
        ("batches.meta", {b"label_names": []}, "no list of names"),
        ("batches.meta", {b"label_names": [1]}, "no list of names"),
    ],
    ids=lambda value: str(value)[:20].replace("\n", ""),
)
def test_a_batch_that_does_not_match_is_told(
    pack: Pack, cifar: Files, out: Path, name: str, content: object, line: str
) -> None:
    """The line names the archive and the batch, and says what was expected."""
    changed = cifar() | {f"cifar-10-batches-py/{name}": pickle.dumps(content, protocol=2)}
    with pytest.raises(UserError, match=line) as caught:
        cifar10.write_labeled(pack("c.tar.gz", changed), out, unlabeled_side=32)
    assert f"c.tar.gz: '{name}'" in str(caught.value)


def test_a_batch_that_is_not_there_is_told(pack: Pack, cifar: Files, out: Path) -> None:
    """All five training batches, the test batch and the names are needed."""
    for name in ("data_batch_5", "test_batch", "batches.meta"):
        fewer = {path: content for path, content in cifar().items() if not path.endswith(name)}
        with pytest.raises(UserError, match=f"lacks '{name}'"):
            cifar10.write_unlabeled(pack("c.tar.gz", fewer), out, unlabeled_side=32)
