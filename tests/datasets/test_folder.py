"""Pictures of one's own, in a tree."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exemplar.datasets import folder
from exemplar.datasets.base import Labeled, load_images
from exemplar.errors import UserError

Picture = Callable[..., bytes]
OPTIONS: dict[str, Any] = {"side": 24, "train_per_class": 3, "folds": 4, "skip_broken": False}


@pytest.fixture
def tree(tmp_path: Path, picture: Picture) -> Path:
    """Seven red and five blue pictures in JPEG, PNG and WebP, some deeper, beside a note and hidden files."""
    root = tmp_path / "my pictures"
    for name, colour, count in (("röd", "red", 7), ("blue", "blue", 5)):
        (root / name / "deep er").mkdir(parents=True)
        for number in range(count):
            kind, suffix = (("JPEG", "JPG"), ("PNG", "png"), ("WEBP", "webp"))[number % 3]
            content = picture(number, colour=colour, size=(30 + number, 24), kind=kind)
            (root / name / ("deep er" if number == 2 else ".") / f"{number}.{suffix}").write_bytes(content)
    (root / "blue" / "notes.txt").write_text("no picture")
    (root / "blue" / "._0.JPG").write_text("no picture")
    (root / ".thumbnails").mkdir()
    (root / ".thumbnails" / "0.png").write_text("no picture")
    return root


def test_every_picture_of_a_tree_is_an_unlabeled_image(tree: Path, out: Path) -> None:
    """Pictures of any kind lie in the order of their paths, as squares of the side that was asked for."""
    folder.write_unlabeled(tree, out, **OPTIONS)
    images = load_images(out)
    assert images.shape == (12, 3, 24, 24)
    assert (images[:5, 2, 4, 4] > 200).all()
    assert (images[5:, 0, 4, 4] > 200).all()
    assert (images[:, :, 20, 20] < 40).all()


def test_a_subfolder_is_a_class(tree: Path, out: Path) -> None:
    """Each fold has the same number of training images a class; all others are test images."""
    folder.write_labeled(tree, out, **OPTIONS)
    written = Labeled.load(out)
    assert written.classes == ("blue", "röd")
    assert written.labels.tolist() == [0] * 5 + [1] * 7
    assert (written.train.shape, written.test.shape) == ((4, 6), (4, 6))
    for train, test in zip(written.train, written.test, strict=True):
        assert np.bincount(written.labels[train]).tolist() == [3, 3]
        assert sorted([*train, *test]) == list(range(12))


def test_a_broken_picture_stops_or_is_skipped(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name is told either way; when it is skipped, labels and images still belong together."""
    broken = tree / "blue" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    for write in (folder.write_unlabeled, folder.write_labeled):
        with pytest.raises(UserError, match=r"blue/1.png is no whole JPEG.*skip_broken"):
            write(tree, out, **OPTIONS)
        write(tree, out, **OPTIONS | {"skip_broken": True})
        assert capsys.readouterr().err.count("skipped: ") == 1
    written = Labeled.load(out)
    assert written.labels.tolist() == [0] * 4 + [1] * 7
    assert (written.images[:4, 2, 4, 4] > 200).all()
    assert (written.images[4:, 0, 4, 4] > 200).all()
    assert written.test.shape == (4, 5)


def test_a_tree_without_a_whole_picture_is_told(tmp_path: Path, out: Path) -> None:
    """Skipping everything leaves nothing to learn from."""
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(UserError, match="has no picture that is whole"):
        folder.write_unlabeled(tmp_path, out, **OPTIONS | {"skip_broken": True})


def test_a_class_with_too_few_pictures_is_told(tree: Path, out: Path) -> None:
    """An empty class, one with too few, and one that has too few once broken pictures are skipped."""
    with pytest.raises(UserError, match=r"'blue' has 5 images; .* at least 6; lower .*train_per_class"):
        folder.write_labeled(tree, out, **OPTIONS | {"train_per_class": 5})
    (tree / "blue" / "1.png").write_bytes(b"x")
    with pytest.raises(UserError, match="the class 'blue' has 4 images; the protocol needs at least 5"):
        folder.write_labeled(tree, out, **OPTIONS | {"train_per_class": 4, "skip_broken": True})
    (tree / "empty").mkdir()
    with pytest.raises(UserError, match="the class 'empty' has 0 images"):
        folder.write_labeled(tree, out, **OPTIONS)


def test_a_picture_outside_of_all_classes_is_told(tree: Path, out: Path, picture: Picture) -> None:
    """For labels every picture needs a class; without labels it may lie anywhere."""
    (tree / "stray.png").write_bytes(picture(kind="PNG"))
    folder.write_unlabeled(tree, out, **OPTIONS)
    with pytest.raises(UserError, match=r"'stray.png' lies in no class"):
        folder.write_labeled(tree, out, **OPTIONS)


@pytest.mark.parametrize("name", ["side", "train_per_class", "folds"])
def test_a_count_of_nothing_is_told(tree: Path, out: Path, name: str) -> None:
    """The line names the option."""
    with pytest.raises(UserError, match=rf"sources.folder.options.{name} is 0; expected at least 1"):
        folder.write_unlabeled(tree, out, **OPTIONS | {name: 0})


def test_a_tree_that_is_none_is_told(tmp_path: Path, out: Path) -> None:
    """No path, a file, a folder without pictures."""
    (tmp_path / "file").touch()
    for archive in (None, tmp_path / "file", tmp_path / "none"):
        with pytest.raises(UserError, match="is no folder"):
            folder.write_unlabeled(archive, out, **OPTIONS)
    with pytest.raises(UserError, match="has no pictures"):
        folder.write_unlabeled(out, out, **OPTIONS)


def test_a_class_name_that_is_not_utf_8_is_kept_readable(tree: Path, out: Path, picture: Picture) -> None:
    """Any bytes may be the name of a folder; what cannot be text becomes a question mark."""
    odd = tree / os.fsdecode(b"zo\xff")
    odd.mkdir()
    for number in range(4):
        (odd / f"{number}.png").write_bytes(picture(number, kind="PNG"))
    folder.write_labeled(tree, out, **OPTIONS)
    assert Labeled.load(out).classes == ("blue", "röd", "zo?")
