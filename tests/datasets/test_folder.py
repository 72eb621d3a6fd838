"""Pictures of one's own, in a tree."""

import os
import re
import shutil
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exemplar.datasets import folder
from exemplar.datasets.base import UNFINISHED, Labeled, load_images
from exemplar.datasets.tree import survey
from exemplar.errors import UserError
from exemplar.runtime import memory

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
        with pytest.raises(UserError, match=r"blue/1.png is no whole picture.*move it elsewhere, or set .*skip_broken"):
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


def test_one_picture_that_can_be_read_is_looked_for_before_an_md5_is_asked_for(tree: Path, tmp_path: Path) -> None:
    """By its header, on the disk or in a shard: whoever names a wrong folder learns it at the first run."""
    folder.require_usable(tree)
    (other := tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="other has no pictures; expected files that end in"):
        folder.require_usable(other)
    for name in ("a.png", "b.png"):
        (other / name).write_bytes(b"hello")
    with pytest.raises(UserError, match=r"other has no picture that can be read; the first: a.png is no whole picture"):
        folder.require_usable(other)
    with tarfile.open(other / "c.tar", "w") as shard:
        shard.add(tree / "blue" / "1.png", "1.png")
    folder.require_usable(other)
    with pytest.raises(UserError, match=r"c\.tar is no folder"):
        folder.require_usable(other / "c.tar")


def test_a_class_with_too_few_pictures_is_told(tree: Path, out: Path) -> None:
    """An empty class, one with too few, and one that has too few once broken pictures are skipped."""
    with pytest.raises(UserError, match=r"'blue' has 5 images; .* at least 6; .*; lower .*train_per_class"):
        folder.write_labeled(tree, out, **OPTIONS | {"train_per_class": 5})
    (tree / "blue" / "1.png").write_bytes(b"x")
    with pytest.raises(UserError, match="the class 'blue' has 4 images; the protocol needs at least 5"):
        folder.write_labeled(tree, out, **OPTIONS | {"train_per_class": 4, "skip_broken": True})
    (tree / "empty").mkdir()
    with pytest.raises(UserError, match="the class 'empty' has 0 images"):
        folder.write_labeled(tree, out, **OPTIONS)


def test_more_classes_than_are_compared_are_told(tree: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their table of mistakes would be larger than a record that can be read again."""
    monkeypatch.setattr(folder, "MOST_CLASSES", 1)
    with pytest.raises(UserError, match=r"my pictures has 2 classes; at most 1 are compared, so take some out"):
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
    with pytest.raises(UserError, match=rf"sources.folder.options.{name} is 0; expected a number from 1 to"):
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


def test_links_to_folders_are_followed(tree: Path, tmp_path: Path, out: Path) -> None:
    """A linked class is a class, a linked album belongs to its folder; a loop and a second link are told."""
    (tmp_path / "elsewhere").mkdir()
    (tree / "blue").rename(tmp_path / "elsewhere" / "blue")
    (tree / "blue").symlink_to(tmp_path / "elsewhere" / "blue")
    (tree / "röd" / "loop").symlink_to(tree)
    folder.write_labeled(tree, out, **OPTIONS)
    written = Labeled.load(out)
    assert written.classes == ("blue", "röd")
    assert written.labels.tolist() == [0] * 5 + [1] * 7
    (tree / "again").symlink_to(tmp_path / "elsewhere" / "blue")
    folder.write_labeled(tree, out, **OPTIONS)
    assert Labeled.load(out).labels.tolist() == [0] * 5 + [1] * 7


def test_what_is_passed_over_is_counted_by_its_cause(
    tree: Path, out: Path, picture: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Formats that are not read, folders and files of a system, hidden files, links to nothing, pipes."""
    for name in ("röd/1.HEIC", "blue/2.heic", "blue/3.nef"):
        (tree / name).write_bytes(b"x")
    for system in ("@eaDir", "__MACOSX", "System Volume Information", "$RECYCLE.BIN", "~snapshot"):
        (tree / "blue" / system).mkdir()
        (tree / "blue" / system / "0.png").write_bytes(picture(kind="PNG"))
    (tree / "blue" / "Thumbs.db").touch()
    (tree / "blue" / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tree / "blue" / "pipe.jpg")
    folder.write_unlabeled(tree, out, **OPTIONS)
    assert len(load_images(out)) == 12
    said = capsys.readouterr().err
    for part in (
        "folder: 12 pictures of ",
        "2 .heic (convert them, for example with the package pillow-heif)",
        "1 .nef (convert them, for example with the package rawpy)",
        "1 .txt",
        "2 hidden",
        *(f"1 of the system ({name})" for name in ("@eaDir", "__MACOSX", "$RECYCLE.BIN", "~snapshot", "Thumbs.db")),
        "1 links that lead nowhere",
        "1 pipes, sockets or devices",
    ):
        assert part in said, part


def test_any_number_of_suffixes_is_one_readable_line(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As copies with a date behind the name have: the most frequent causes by name, the others by their number."""
    for number in range(300):
        (tree / "blue" / f"0.png.{number}").touch()
    folder.write_unlabeled(tree, out, **OPTIONS)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert line.endswith("of other kinds")
    assert len(line) < 400


def test_a_system_s_folder_is_no_class(tree: Path, out: Path, picture: Picture) -> None:
    """As a Mac's zip and a Windows disk leave them beside the classes."""
    for system in ("__MACOSX", "System Volume Information", "lost+found"):
        (tree / system / "blue").mkdir(parents=True)
        (tree / system / "blue" / "._0.png").write_bytes(picture(kind="PNG"))
    folder.write_labeled(tree, out, **OPTIONS)
    assert Labeled.load(out).classes == ("blue", "röd")


def test_a_class_of_another_format_is_told_with_it(tree: Path, out: Path) -> None:
    """Its folder is not empty, as whoever looks into it sees."""
    (tree / "dog").mkdir()
    for number in range(6):
        (tree / "dog" / f"{number}.HEIC").write_bytes(b"x")
    with pytest.raises(UserError, match=r"class 'dog' has 0 images; .*; passed over: 6 .heic \(convert them"):
        folder.write_labeled(tree, out, **OPTIONS)


def test_folders_above_the_classes_are_told(tmp_path: Path, tree: Path, out: Path) -> None:
    """The parts of a split, one folder too many, and one class only, before anything is read or trained."""
    for names, line in (
        (("train", "val", "Test"), r"the folders Test, train, val are parts of a split .* such as .*/split/Test"),
        (("all",), r"has one class only, 'all'; .* if its subfolders are the classes, name .*/split/all"),
    ):
        above = tmp_path / "split"
        for name in names:
            shutil.copytree(tree, above / name)
        with pytest.raises(UserError, match=line):
            folder.write_labeled(above, out, **OPTIONS)
        assert not (out / "images.npy").exists()
        shutil.rmtree(above)
    shutil.rmtree(tree / "blue")
    with pytest.raises(UserError, match=r"has one class only, 'röd'; expected a subfolder for each of two"):
        folder.write_labeled(tree, out, **OPTIONS)


def test_names_that_hint_at_a_mistake_are_told(
    tree: Path, out: Path, picture: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    """One class twice, as Mac and Linux write it or in another case, and the same subfolder in every class."""
    shutil.copytree(tree / "röd", tree / unicodedata.normalize("NFD", "röd"))
    shutil.copytree(tree / "blue", tree / "Blue")
    folder.write_labeled(tree, out, **OPTIONS)
    said = capsys.readouterr().err
    assert "'Blue' and 'blue' look alike and are taken for different classes" in said
    assert said.count("look alike") == 2
    assert "every class has" not in said
    shutil.rmtree(tree)
    for name in ("2021/cat", "2021/dog", "2022/cat", "2022/dog"):
        (tree / name).mkdir(parents=True)
        for number in range(2):
            (tree / name / f"{number}.png").write_bytes(picture(number, kind="PNG"))
    folder.write_labeled(tree, out, **OPTIONS)
    assert "every class has the subfolders cat, dog; if these are the classes" in capsys.readouterr().err


def test_copies_are_counted_within_and_across_classes(
    tree: Path, out: Path, picture: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their pixels, whatever the file's name and format; and how many of them a fold trains on and tests."""
    folder.write_labeled(tree, out, **OPTIONS)
    assert "are copies of others" not in capsys.readouterr().err
    content = picture(0, colour="red", size=(30, 24), kind="PNG")
    for name in ("röd/7.png", "röd/8.png", "röd/9.png", "blue/9.png"):
        (tree / name).write_bytes(content)
    Image.open(tree / "röd" / "7.png").save(tree / "röd" / "8.webp", lossless=True)
    folder.write_labeled(tree, out, **OPTIONS)
    said = capsys.readouterr().err
    assert "5 of 17 pictures are copies of others (the same pixels), 5 in several classes" in said
    assert re.search(r"in a fold up to [1-5] of 11 test pictures are also trained on", said)
    folder.write_unlabeled(tree, out, **OPTIONS)
    said = capsys.readouterr().err
    assert "5 of 17 pictures are copies of others (the same pixels); seeds of copies are told apart in vain" in said


def test_deep_pictures_are_scaled_by_the_largest_value_of_the_set(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 bits in 16, as microscopes write them, use all 256 grey values; two pictures keep their relation."""
    for name, largest in (("dark", 2047), ("light", 4095)):
        values = np.linspace(0, largest, 24 * 24).reshape(24, 24).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    folder.write_unlabeled(tmp_path, out, **OPTIONS)
    images = load_images(out)
    assert [int(image.max()) for image in images] == [127, 255]
    assert "2 pictures have 16 bits a value, of which the set uses 12; the upper 8 are kept" in capsys.readouterr().err


def test_a_set_that_is_nearly_black_is_told(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As colours of 12 bits in 16 are, which Pillow itself reduces to 8."""
    Image.new("RGB", (24, 24), (15, 9, 3)).save(tmp_path / "x.png")
    folder.write_unlabeled(tmp_path, out, **OPTIONS)
    assert "no value of any picture is above 15 of 255" in capsys.readouterr().err


def test_files_of_several_pictures_are_told(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an animation and of pages the first is taken, and the number of such files is said."""
    pages = [Image.new("L", (24, 24), level) for level in (255, 0)]
    for suffix in ("gif", "tif", "webp"):
        pages[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=pages[1:])
    folder.write_unlabeled(tmp_path, out, **OPTIONS)
    assert load_images(out).min() > 250
    assert "3 files are animations or have several pages; the first picture of each is taken" in capsys.readouterr().err


def test_a_name_cannot_write_lines_of_its_own(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A skipped picture is one line, whatever its name."""
    (tree / "blue" / "\x1b[2J\nerror: all is lost.png").write_bytes(b"x")
    folder.write_unlabeled(tree, out, **OPTIONS | {"skip_broken": True})
    lines = [line for line in capsys.readouterr().err.splitlines() if "skipped: " in line]
    assert len(lines) == 1
    assert lines[0].startswith("folder: skipped: ")
    assert "\x1b" not in lines[0]


@pytest.mark.parametrize("other", [b"another picture", None])
def test_pictures_that_differ_between_machines_are_told(tree: Path, out: Path, other: bytes | None) -> None:
    """By their number of bytes, also where broken ones are skipped; nothing of it counts as done."""
    found, path = survey(tree), tree / "blue" / "0.JPG"
    content = path.read_bytes()
    (out / UNFINISHED).mkdir()
    path.unlink()
    if other:
        path.write_bytes(other)
    said = r"has 15 bytes" if other else r"cannot be read \(No such file or directory\)"
    line = rf"blue/0.JPG {said} on the machine .+, and had {len(content):,} bytes when the pictures were listed; all"
    with pytest.raises(UserError, match=line):
        folder.write_images(found, out, side=24, skip_broken=True)
    assert not (out / "images.npy").exists()
    path.write_bytes(content)
    assert len(folder.write_images(found, out, side=24, skip_broken=True).paths) == 12


def test_any_number_of_processes_reads_a_tree_the_same(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same images in the same order, and the same words of what was skipped, of which nothing is left behind.

    Where the caller has made a folder for it, what is done already is not done again. Of skipped pictures nothing is
    left between the others, which were moved for that; so all is done again where a note is lost afterwards.
    """
    monkeypatch.setattr(folder, "PICTURES", 4)
    (tree / "blue" / "0.JPG").write_text("no picture")
    found = []
    for processes in (1, 2):
        monkeypatch.setenv("EXEMPLAR_THREADS", str(processes))
        made = tmp_path / f"{processes}"
        (made / UNFINISHED).mkdir(parents=True)
        folder.write_unlabeled(tree, made, **OPTIONS | {"skip_broken": True})
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("folder:")]
        found.append(((made / "images.npy").read_bytes(), said))
    assert found[0] == found[1]
    assert len(load_images(tmp_path / "1")) == 11
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / UNFINISHED).rglob("*.npy")}
    assert len(before) == 2 * 3 + 2
    folder.write_unlabeled(tree, tmp_path / "1", **OPTIONS | {"skip_broken": True})
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / UNFINISHED).rglob("*.npy")}
    assert (tmp_path / "1" / "images.npy").read_bytes() == found[0][0]
    kept = tmp_path / "1" / UNFINISHED
    (kept / "images.units" / "000002.npy").unlink()
    folder.write_unlabeled(tree, tmp_path / "1", **OPTIONS | {"skip_broken": True})
    changed = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {kept / "images.npy", kept / "whole.npy", *(kept / "images.units").iterdir()}
    assert (tmp_path / "1" / "images.npy").read_bytes() == found[0][0]


def test_skipped_pictures_take_no_more_room(tree: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the others are moved together, of each the first place is given back."""
    monkeypatch.setattr(folder, "PICTURES", 4)
    (tree / "blue" / "0.JPG").write_text("no picture")
    (out / UNFINISHED).mkdir()
    folder.write_unlabeled(tree, out, **OPTIONS | {"skip_broken": True})
    moved, whole = out / UNFINISHED / "images.npy", out / "images.npy"
    assert whole.stat().st_size - moved.stat().st_size == 11 * 3 * 24 * 24


def test_large_pictures_are_read_a_few_at_a_time(tree: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five squares of this side fit into the bytes that are allowed here, so that twelve are three units."""
    monkeypatch.setattr(memory, "MOST_BYTES_AT_ONCE", 5 * 3 * 24 * 24)
    (out / UNFINISHED).mkdir()
    folder.write_unlabeled(tree, out, **OPTIONS)
    assert len(list((out / UNFINISHED / "images.units").iterdir())) == 3
    assert len(list((out / UNFINISHED / "headers").iterdir())) == 1
