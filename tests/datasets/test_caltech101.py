"""Caltech-101, on small archives in its true format: a zip around a tar.gz of class folders."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import caltech, caltech101
from exemplar.datasets.base import UNFINISHED, Labeled, load_images
from exemplar.errors import UserError

Pack = Callable[[str, dict[str, bytes]], Path]
Picture = Callable[..., bytes]
COUNTS = {"accordion": 31, "airplanes": 85, "yin_yang": 33}
COLOURS = dict(zip(COUNTS, ("red", "lime", "blue"), strict=True))


@pytest.fixture
def files(picture: Picture) -> dict[str, bytes]:
    """Pictures of three classes and of the background, of different sizes, and files that lie about."""
    content = {
        f"101_ObjectCategories/{name}/image_{number:04}.jpg": picture(
            number, colour=COLOURS[name], size=(60 + number, 50) if number % 2 else (40, 200)
        )
        for name, count in COUNTS.items()
        for number in range(count)
    }
    content |= {f"101_ObjectCategories/BACKGROUND_Google/image_{number:04}.jpg": picture() for number in range(3)}
    strewn = ("BACKGROUND_Google/tmp", "airplanes/._image_0001.jpg", "airplanes/old/image_0001.jpg", "list.jpg")
    return content | {f"101_ObjectCategories/{name}": b"no picture" for name in strewn}


def zipped(tar: Path) -> Path:
    """The zip in which the set is handed out."""
    path = tar.with_name("caltech-101.zip")
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"x")
        package.write(tar, "caltech-101/101_ObjectCategories.tar.gz")
        package.writestr("caltech-101/Annotations.tar", b"x")
    return path


def test_unlabeled_images_are_those_of_the_object_classes(pack: Pack, files: dict[str, bytes], out: Path) -> None:
    """Every picture but the background's is a square of 150 pixels, scaled whole, the right way up."""
    caltech101.write_unlabeled(zipped(pack("101_ObjectCategories.tar.gz", files)), out)
    images = load_images(out)
    assert images.shape == (31 + 85 + 33, 3, 150, 150)
    for number in range(31):
        red, grey = images[number, :, 30, 30].astype(int), images[number, :, 110, 110].astype(int)
        assert abs(red - (255, 0, 0)).max() < 12
        assert abs(grey - number * 3).max() < 12
        assert abs(images[number, :, 30, 110].astype(int) - number * 3).max() < 12
        assert abs(images[number, :, 110, 30].astype(int) - number * 3).max() < 12


def test_ten_splits_of_30_for_training_and_at_most_50_for_testing(
    pack: Pack, files: dict[str, bytes], out: Path
) -> None:
    """A class gives 30 training images; the others, but no more than 50, are its test images; no image is in both."""
    caltech101.write_labeled(zipped(pack("101_ObjectCategories.tar.gz", files)), out)
    written = Labeled.load(out)
    assert written.classes == tuple(COUNTS)
    assert np.bincount(written.labels).tolist() == list(COUNTS.values())
    assert (written.train.shape, written.test.shape) == ((10, 90), (10, 1 + 50 + 3))
    for train, test in zip(written.train, written.test, strict=True):
        assert np.bincount(written.labels[train]).tolist() == [30, 30, 30]
        assert np.bincount(written.labels[test]).tolist() == [1, 50, 3]
        assert len(np.unique([*train, *test])) == 90 + 54
    assert len({tuple(sorted(row)) for row in written.train.tolist()}) == 10
    colours = written.images[:, :, 30, 30].argmax(axis=1)
    assert np.array_equal(colours, written.labels)


def test_splits_depend_on_the_names_alone(pack: Pack, files: dict[str, bytes], out: Path) -> None:
    """An archive packed in another order, without its zip, gives the same splits of the same pictures."""
    caltech101.write_labeled(pack("101_ObjectCategories.tar.gz", files), out)
    one = Labeled.load(out)
    first = np.array(one.images[one.train[3]])
    caltech101.write_labeled(pack("b.tar.gz", dict(reversed(files.items()))), out)
    other = Labeled.load(out)
    assert np.array_equal(first, other.images[other.train[3]])


def test_a_class_with_too_few_pictures_is_told(pack: Pack, files: dict[str, bytes], out: Path) -> None:
    """30 pictures leave none for testing."""
    del files["101_ObjectCategories/accordion/image_0000.jpg"]
    with pytest.raises(UserError, match="the class 'accordion' has 30 images; the protocol needs at least 31"):
        caltech101.write_labeled(pack("a.tar.gz", files), out)


def test_a_broken_picture_is_told(pack: Pack, files: dict[str, bytes], out: Path) -> None:
    """The line names the archive and the picture in it."""
    name = "101_ObjectCategories/yin_yang/image_0007.jpg"
    files[name] = files[name][:-200]
    with pytest.raises(UserError, match=rf"a.tar.gz: '{name}' is no whole picture"):
        caltech101.write_unlabeled(pack("a.tar.gz", files), out)


def test_any_number_of_processes_decodes_the_same(
    pack: Pack, files: dict[str, bytes], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done already is not done again, and of the copy of the pictures nothing is left."""
    archive = zipped(pack("101_ObjectCategories.tar.gz", files))
    caltech101.write_unlabeled(archive, out)
    whole = (out / "images.npy").read_bytes()
    monkeypatch.setattr(caltech, "PICTURES", 100)
    monkeypatch.setenv("EXEMPLAR_THREADS", "2")
    (out / UNFINISHED).mkdir()
    caltech101.write_unlabeled(archive, out)
    assert (out / "images.npy").read_bytes() == whole
    notes = [out / UNFINISHED / "images.units" / f"{number:06}.npy" for number in range(2)]
    assert not (out / UNFINISHED / "pictures").exists()
    before = notes[0].stat().st_mtime_ns
    notes[1].unlink()
    caltech101.write_unlabeled(archive, out)
    assert (out / "images.npy").read_bytes() == whole
    assert notes[0].stat().st_mtime_ns == before


def test_more_pictures_than_caltechs_sets_have_are_told(
    pack: Pack, files: dict[str, bytes], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their number or their bytes, before they fill the disk; nothing is left there."""
    archive = pack("a.tar.gz", files)
    for limit in ("MOST_PICTURES", "MOST_BYTES_TOGETHER"):
        with monkeypatch.context() as patch:
            patch.setattr(caltech, limit, 100)
            with pytest.raises(
                UserError, match=r"a.tar.gz has more than [\d,]+ pictures, or [\d,]+ bytes of them; exp"
            ):
                caltech101.write_unlabeled(archive, out)
    assert not list(out.iterdir())


def test_an_archive_of_something_else_is_told(pack: Pack, out: Path) -> None:
    """A zip without the tar, a tar without the pictures."""
    other = pack("other.tar.gz", {"x/y/z.jpg": b""})
    with pytest.raises(UserError, match=r"other.tar.gz has no pictures under '101_ObjectCategories'"):
        caltech101.write_unlabeled(other, out)
    with zipfile.ZipFile(other.with_name("other.zip"), "w") as package:
        package.writestr("a", b"b")
    with pytest.raises(UserError, match=r"other.zip has no pictures under '101_ObjectCategories'"):
        caltech101.write_unlabeled(other.with_name("other.zip"), out)
