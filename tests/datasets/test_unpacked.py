"""Sets that others have unpacked already, as torchvision, Kaggle and tar leave them, read where they lie."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import caltech101, caltech256, cifar10, stl10
from exemplar.datasets.base import Labeled, load_images
from exemplar.datasets.fetching.fetch import fetch
from exemplar.errors import UserError
from exemplar.io.sources import source_digest

Pack = Callable[[str, dict[str, bytes]], Path]
Files = Callable[..., dict[str, bytes]]
Picture = Callable[..., bytes]
CIFAR = {"unlabeled_side": 32}


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    """The folder that unpacking leaves: the one at the top of all names."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / Path(next(iter(files))).parts[0]


def same(one: Labeled, other: Labeled) -> bool:
    """Whether each image of a fold has the same pixels and label in both; Caltech's order is that of the archive."""
    return one.classes == other.classes and all(
        np.array_equal(one.images[a], other.images[b]) and np.array_equal(one.labels[a], other.labels[b])
        for rows in ((one.train, other.train), (one.test, other.test))
        for a, b in zip(*rows, strict=True)
    )


@pytest.fixture
def caltech(picture: Picture) -> dict[str, bytes]:
    """Two classes of 31 pictures and one of the background."""
    return {
        f"101_ObjectCategories/{name}/image_{number:04}.jpg": picture(number, colour=colour)
        for name, colour in (("ant", "red"), ("bee", "blue"))
        for number in range(31)
    } | {"101_ObjectCategories/BACKGROUND_Google/image_0001.jpg": picture()}


def test_an_unpacked_cifar_10_is_read(tmp_path: Path, pack: Pack, cifar: Files, out: Path) -> None:
    """`cifar-10-batches-py`, the folder above it, and both with the archive beside it."""
    cifar10.write_labeled(pack("c.tar.gz", cifar()), out, **CIFAR)
    before = Labeled.load(out)
    images = np.array(before.images)
    place = unpacked(tmp_path / "data", cifar())
    (tmp_path / "data" / "cifar-10-python.tar.gz").write_bytes(b"what torchvision leaves beside it")
    for source in (place, place.parent):
        cifar10.write_labeled(fetch([str(source)], md5=source_digest(source), folder=tmp_path), out, **CIFAR)
        assert np.array_equal(Labeled.load(out).images, images)
        assert np.array_equal(Labeled.load(out).labels, before.labels)


def test_a_batch_that_is_there_twice_is_told(tmp_path: Path, cifar: Files, out: Path) -> None:
    """As in a folder above two copies of the set: which of them counted would be chance."""
    place = unpacked(tmp_path / "data", cifar())
    place.rename(place.with_name("one"))
    unpacked(tmp_path / "data", cifar())
    with pytest.raises(UserError, match=r"data has 'batches.meta' twice; expected the Python version of CIFAR-10"):
        cifar10.write_labeled(tmp_path / "data", out, **CIFAR)


def test_an_unpacked_stl_10_is_read(tmp_path: Path, noise: Callable[..., np.ndarray], out: Path) -> None:
    """`stl10_binary`."""
    image = noise(1, 3, 96, 96)
    place = unpacked(tmp_path, {"stl10_binary/unlabeled_X.bin": image.transpose(0, 1, 3, 2).tobytes()})
    stl10.write_unlabeled(place, out)
    assert np.array_equal(load_images(out), image)


def test_an_unpacked_caltech_101_is_read(tmp_path: Path, pack: Pack, caltech: dict[str, bytes], out: Path) -> None:
    """`101_ObjectCategories`, the folder above it, and a link of another name: the same pictures in the same folds."""
    caltech101.write_labeled(pack("a.tar.gz", dict(reversed(caltech.items()))), out)
    before = Labeled.load(out)
    before = Labeled(np.array(before.images), before.labels, before.train, before.test, before.classes)
    place = unpacked(tmp_path / "caltech101", caltech)
    (tmp_path / "link").symlink_to(place)
    for source in (place, place.parent, tmp_path / "link"):
        caltech101.write_labeled(source, out)
        assert same(Labeled.load(out), before)


def test_an_unpacked_caltech_256_is_read(tmp_path: Path, picture: Picture, out: Path) -> None:
    """`256_ObjectCategories`; what its authors left in it is passed over there too."""
    files = {f"256_ObjectCategories/001.ak47/001_{number:04}.jpg": picture(number) for number in range(3)}
    files |= {
        "256_ObjectCategories/056.dog/greg/vision309/056_0001.jpg": b"x",
        "256_ObjectCategories/198.spider/RENAME2": b"x",
    }
    caltech256.write_unlabeled(unpacked(tmp_path, files), out)
    assert load_images(out).shape == (3, 3, 256, 256)


def test_a_zip_of_the_plain_tree_is_read(tmp_path: Path, caltech: dict[str, bytes], out: Path) -> None:
    """As Kaggle hands Caltech-101 out, with a folder of its own above all."""
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as package:
        for name, content in caltech.items():
            package.writestr(f"caltech101/{name}", content)
    caltech101.write_labeled(tmp_path / "archive.zip", out)
    assert Labeled.load(out).classes == ("ant", "bee")


def test_a_folder_of_another_name_is_told(tmp_path: Path, caltech: dict[str, bytes], out: Path) -> None:
    """The line says which name is expected; nothing asks to remove anything."""
    place = unpacked(tmp_path, caltech)
    with pytest.raises(UserError, match=r"renamed has no pictures under '101_ObjectCategories'; expected that folder"):
        caltech101.write_unlabeled(place.rename(tmp_path / "renamed"), out)


def test_a_caltech_of_one_class_is_told(tmp_path: Path, caltech: dict[str, bytes], out: Path) -> None:
    """Before anything is trained."""
    files = {name: content for name, content in caltech.items() if "bee" not in name}
    with pytest.raises(UserError, match="there is one class only, 'ant'; the protocol needs two or more"):
        caltech101.write_labeled(unpacked(tmp_path, files), out)
