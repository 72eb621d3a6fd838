"""STL-10, on small archives in its true format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import stl10
from exemplar.datasets.base import Labeled, load_images
from exemplar.errors import UserError

Pack = Callable[[str, dict[str, bytes]], Path]
NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def binary(images: np.ndarray) -> bytes:
    """Images as the set's files hold them: channel by channel, column by column."""
    return images.transpose(0, 1, 3, 2).tobytes()


@pytest.fixture
def images(noise: Callable[..., np.ndarray]) -> np.ndarray:
    """60 images."""
    return noise(60, 3, 96, 96)


@pytest.fixture
def files(images: np.ndarray) -> dict[str, bytes]:
    """40 training images in 10 folds of 8, 20 test images and as many unlabeled ones, in the archive's own order."""
    folds = [[(8 * fold + place) % 40 for place in range(8)] for fold in range(10)]
    content = {
        "test_X.bin": binary(images[40:]),
        "test_y.bin": bytes(place % 10 + 1 for place in range(20)),
        "train_X.bin": binary(images[:40]),
        "train_y.bin": bytes(place // 4 + 1 for place in range(40)),
        "unlabeled_X.bin": binary(images[:20]),
        "class_names.txt": "\n".join(NAMES).encode() + b"\n",
        "fold_indices.txt": "".join(" ".join(map(str, fold)) + " \n" for fold in folds).encode(),
    }
    return {f"stl10_binary/{name}": each for name, each in content.items()}


def test_unlabeled_images_are_all_of_the_unlabeled_file(
    pack: Pack, files: dict[str, bytes], images: np.ndarray, out: Path
) -> None:
    """They come upright, RGB, in the order of the file."""
    files["stl10_binary/unlabeled_X.bin"] = binary(np.tile(images, (5, 1, 1, 1)))
    stl10.write_unlabeled(pack("stl10_binary.tar.gz", files), out)
    written = load_images(out)
    assert written.shape == (300, 3, 96, 96)
    assert np.array_equal(written, np.tile(images, (5, 1, 1, 1)))


def test_columns_of_the_file_are_columns_of_the_image(pack: Pack, out: Path) -> None:
    """A byte at channel c, column x, row y of the file is the pixel [c, y, x]."""
    content = bytearray(3 * 96 * 96)
    content[1 * 96 * 96 + 5 * 96 + 2] = 255
    stl10.write_unlabeled(pack("s.tar.gz", {"stl10_binary/unlabeled_X.bin": bytes(content)}), out)
    assert np.argwhere(load_images(out)[0]).tolist() == [[1, 2, 5]]


@pytest.mark.parametrize("reverse", [False, True])
def test_labeled_images_have_ten_predefined_folds(
    pack: Pack, files: dict[str, bytes], images: np.ndarray, out: Path, reverse: bool
) -> None:
    """Each fold has its line of training images and all test images, whatever the order of the archive's members."""
    members = dict(reversed(files.items())) if reverse else files
    stl10.write_labeled(pack("stl10_binary.tar.gz", members), out)
    written = Labeled.load(out)
    assert (written.train.shape, written.test.shape, written.images.shape) == ((10, 8), (10, 20), (60, 3, 96, 96))
    assert written.classes == NAMES
    for fold in range(10):
        lines = [(8 * fold + place) % 40 for place in range(8)]
        assert np.array_equal(written.images[written.train[fold]], images[lines])
        assert written.labels[written.train[fold]].tolist() == [line // 4 for line in lines]
        assert np.array_equal(written.images[written.test[fold]], images[40:])
        assert written.labels[written.test[fold]].tolist() == [place % 10 for place in range(20)]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("train_y.bin", b"\x01" * 39, "'train_y.bin' does not match the images; expected 40 labels between 1 and 10"),
        ("test_y.bin", b"\x00" * 20, "'test_y.bin' does not match"),
        ("test_y.bin", b"\x0b" * 20, "'test_y.bin' does not match"),
        ("class_names.txt", b"bird\n", "'train_y.bin' does not match the images; expected 40 labels between 1 and 1"),
        ("fold_indices.txt", b"0 1\n" * 9, "expected 10 lines of equally many different numbers between 0 and 39"),
        ("fold_indices.txt", b"0 40\n" * 10, "'fold_indices.txt' does not match"),
        ("fold_indices.txt", b"0 -1\n" * 10, "'fold_indices.txt' does not match"),
        ("fold_indices.txt", b"3 3\n" * 10, "'fold_indices.txt' does not match"),
        ("fold_indices.txt", b"0 1\n" * 9 + b"0\n", "'fold_indices.txt' does not match"),
        ("fold_indices.txt", b"0 \xff\n" * 10, "'fold_indices.txt' does not match"),
        ("fold_indices.txt", b"99999999999999999999\n" * 10, "'fold_indices.txt' does not match"),
        ("fold_indices.txt", b"", "'fold_indices.txt' does not match"),
        ("fold_indices.txt", b"1" * (1 << 21), "'stl10_binary/fold_indices.txt' claims 2,097,152 bytes; at most"),
        ("train_X.bin", b"x" * 27_647, "has 27,647 bytes; expected 27,648 for each of at most 100,000 images"),
        ("test_X.bin", b"", "has 0 bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_does_not_match_is_told(
    pack: Pack, files: dict[str, bytes], out: Path, name: str, content: bytes, line: str
) -> None:
    """The line names the archive and the file in it, and says what was expected."""
    archive = pack("stl10_binary.tar.gz", files | {f"stl10_binary/{name}": content})
    with pytest.raises(UserError) as caught:
        stl10.write_labeled(archive, out)
    assert str(caught.value).startswith(str(archive))
    assert line in str(caught.value)


@pytest.mark.parametrize("name", ["train_X.bin", "test_X.bin", "train_y.bin", "class_names.txt", "fold_indices.txt"])
def test_a_file_that_is_not_there_is_told(pack: Pack, files: dict[str, bytes], out: Path, name: str) -> None:
    """An archive without one of the files that the protocol needs is not STL-10."""
    del files[f"stl10_binary/{name}"]
    with pytest.raises(UserError, match=f"lacks '{name}'"):
        stl10.write_labeled(pack("stl10_binary.tar.gz", files), out)
    with pytest.raises(UserError, match=r"lacks 'unlabeled_X.bin'"):
        stl10.write_unlabeled(pack("stl10_binary.tar.gz", {"stl10_binary/x": b""}), out)


def test_a_file_that_is_there_twice_is_told(pack: Pack, files: dict[str, bytes], out: Path) -> None:
    """Which of the two was meant cannot be known."""
    files["other/train_X.bin"] = files["stl10_binary/train_X.bin"]
    with pytest.raises(UserError, match=r"has 'train_X.bin' twice"):
        stl10.write_labeled(pack("stl10_binary.tar.gz", files), out)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_archive_is_told(pack: Pack, files: dict[str, bytes], out: Path, share: float) -> None:
    """An archive whose end is missing ends in one line that names it, wherever it was cut."""
    archive = pack("stl10_binary.tar.gz", files)
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    with pytest.raises(UserError, match=r"stl10_binary.tar.gz is cut, corrupt"):
        stl10.write_unlabeled(archive, out)
    with pytest.raises(UserError, match=r"stl10_binary.tar.gz is cut, corrupt"):
        stl10.write_labeled(archive, out)
