"""Tar shards of pictures, as img2dataset writes them, beside or in place of files."""

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest

from exemplar.datasets import folder
from exemplar.datasets.base import load_images
from exemplar.datasets.fetching.shards import Place, first_missing
from exemplar.datasets.tree import survey
from exemplar.errors import UserError
from exemplar.io.sources import source_digest

OPTIONS: dict[str, Any] = {"side": 16, "train_per_class": 3, "folds": 4, "skip_broken": False}
Picture = Callable[..., bytes]


@pytest.fixture
def tree(tmp_path: Path, picture: Picture, pack: Callable[..., Path]) -> Path:
    """Three shards of four pictures with their captions, and a report beside each."""
    root = tmp_path / "shards"
    root.mkdir()
    for shard in range(3):
        files = {}
        for number in range(4):
            key = f"{shard:05}{number:04}"
            files |= {
                f"{key}.jpg": picture(4 * shard + number, size=(20 + number, 16)),
                f"{key}.json": json.dumps({"key": key}).encode(),
                f"{key}.txt": b"a caption",
            }
        pack(f"shards/{shard:05}.tar", files)
        (root / f"{shard:05}_stats.json").write_text("{}")
    return root


@pytest.fixture
def unpacked(tmp_path: Path, picture: Picture) -> Path:
    """The same pictures as files."""
    root = tmp_path / "unpacked"
    root.mkdir()
    for index in range(12):
        (root / f"{index:05}.jpg").write_bytes(picture(index, size=(20 + index % 4, 16)))
    return root


def test_pictures_in_shards_are_those_in_files(
    tree: Path, unpacked: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the shards and of their members; what lies beside them is counted."""
    folder.write_unlabeled(tree, out, **OPTIONS)
    said = capsys.readouterr().err
    (tmp_path / "other").mkdir()
    folder.write_unlabeled(unpacked, tmp_path / "other", **OPTIONS)
    np.testing.assert_array_equal(load_images(out), load_images(tmp_path / "other"))
    assert "12 pictures of" in said
    for part in ("12 .json in shards", "12 .txt in shards", "3 .json"):
        assert part in said


@pytest.mark.parametrize("left", [0, 700, 3000, -10240, -9000])
def test_a_shard_that_is_cut_short_is_told(tree: Path, out: Path, left: int) -> None:
    """In the middle of a picture, between two members or before the zeros that end it."""
    path = tree / "00001.tar"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match=r"; fetch it again, or move it elsewhere$") as told:
        folder.write_unlabeled(tree, out, **OPTIONS)
    assert str(told.value).startswith(f"{path} ")
    assert "\n" not in str(told.value)


def test_a_shard_that_is_missing_is_told(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its number is between those of others; whoever skips broken pictures goes on without it."""
    (tree / "00001.tar").unlink()
    with pytest.raises(UserError, match=re.escape("the shard 00001.tar is missing between others; fetch it, or set")):
        folder.write_unlabeled(tree, out, **OPTIONS)
    folder.write_unlabeled(tree, out, **OPTIONS | {"skip_broken": True})
    assert "warning: " in capsys.readouterr().err
    assert len(load_images(out)) == 8


def test_shards_are_counted_by_their_numbers():
    """With and without zeros before them, each folder by itself."""
    names = sorted(PurePath("a", f"{number}.tar") for number in range(12))
    assert first_missing([*names, PurePath("b/00003.tar"), PurePath("b/00004.tar")]) == ""
    assert first_missing([name for name in names if name.stem != "7"]) == "a/7.tar"


def test_a_member_that_is_no_picture_is_told(
    tree: Path, out: Path, pack: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a file would be, by the name of its shard and its own."""
    pack("shards/00003.tar", {"000030000.jpg": b"<html>", "000030001.heic": b"x", "._a.jpg": b"x"})
    with pytest.raises(
        UserError, match=r"shards/00003.tar/000030000.jpg is no whole picture \(it is a web page\); move"
    ):
        folder.write_unlabeled(tree, out, **OPTIONS)
    folder.write_unlabeled(tree, out, **OPTIONS | {"skip_broken": True})
    said = capsys.readouterr().err
    assert "1 skipped" in said
    assert "1 .heic in shards" in said
    assert "1 hidden" in said
    assert len(load_images(out)) == 12


def test_a_shard_that_differs_between_machines_is_told(tree: Path) -> None:
    """By its number of bytes; a shard that is not there is told in the same words."""
    place = survey(tree, shards=True).places[5]
    assert isinstance(place, Place)
    assert place.read().getvalue().startswith(b"\xff\xd8")
    length = (tree / "00001.tar").stat().st_size
    (tree / "00001.tar").write_bytes(b"another one")
    line = rf" on the machine .+, and had {length:,} bytes when the pictures were listed; all machines need the same"
    with pytest.raises(UserError, match=r"00001.tar has 11 bytes" + line):
        place.read()
    (tree / "00001.tar").unlink()
    with pytest.raises(UserError, match=r"00001.tar cannot be read \(No such file or directory\)" + line):
        place.read()


def test_shards_are_known_by_their_own_bytes(tree: Path) -> None:
    """A report beside them changes nothing of the md5, a byte in one of them does."""
    before = source_digest(tree)
    (tree / "00000_stats.json").write_text("{ }")
    assert source_digest(tree) == before
    content = bytearray((tree / "00000.tar").read_bytes())
    content[600] ^= 1
    (tree / "00000.tar").write_bytes(content)
    assert source_digest(tree) != before
