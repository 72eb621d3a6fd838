"""Trees of pictures, drawn at random: whatever lies in them is taken or told, and nothing is passed over in silence."""

import io
import os
import re
import stat
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from exemplar.datasets import folder
from exemplar.errors import UserError

OPTIONS = {"side": 8, "train_per_class": 1, "folds": 1, "skip_broken": True}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
READ = (".jpg", ".JPEG", ".png", ".webp", ".gif", ".bmp", ".TIF", ".tiff", ".avif", ".ppm", ".pgm", ".pbm")
SUFFIXES = (*READ, ".heic", ".txt", ".jpg~", ".svg", "", ".mp4")
NAMES = ("a", "b", "ä", ".hidden", "@eaDir", "__MACOSX", "train", "x y", "\udcff", "thumbs.db", "-rf", "$(id)", "a\nb")


def encoded(kind: str) -> bytes:
    """A small whole picture."""
    file = io.BytesIO()
    Image.new("RGB", (3, 5), "red").save(file, kind)
    return file.getvalue()


WHOLE = {kind: encoded(kind) for kind in FORMATS}
CONTENTS = st.one_of(
    st.sampled_from(list(WHOLE.values())),
    st.sampled_from([b"", b"text", b"<html>", WHOLE["PNG"][:40], b"\0\0\0\x18ftypheic" + bytes(40)]),
)
FILE = st.tuples(st.just("file"), CONTENTS, st.sampled_from([0o644, 0o000]))
OTHER = st.tuples(st.sampled_from(["link", "loop", "far", "nothing", "pipe", "folder"]), st.just(b""), st.just(0o644))
ENTRY = st.tuples(
    st.lists(st.sampled_from(NAMES), max_size=3), st.sampled_from(NAMES), st.sampled_from(SUFFIXES), FILE | OTHER
)


def make(tree: Path, far: Path, entry: tuple) -> None:
    """Add an entry to the tree, unless something of its name is there."""
    above, stem, suffix, (kind, content, mode) = entry
    place = tree.joinpath(*above, f"{stem}{suffix}")
    if any(os.path.lexists(parent) and not stat.S_ISDIR(parent.lstat().st_mode) for parent in place.parents):
        return
    if os.path.lexists(place):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        place.write_bytes(content)
        place.chmod(mode)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        targets = {"link": far / "1.png", "loop": tree, "far": far, "nothing": tree / "nowhere"}
        place.symlink_to(targets[kind])


def there(tree: Path, far: Path) -> int:
    """How many things that are no folders lie in the tree, counted in another way; a linked folder counts once."""
    paths = [Path(above, name) for above, folders, files in os.walk(tree) for name in (*folders, *files)]
    links = [path for path in paths if path.is_symlink() and path.is_dir()]
    plain = [path for path in paths if path not in links and not path.is_dir()]
    return (
        len(plain)
        + len(links)
        + (len(list(far.iterdir())) - 1 if any(visible(path, tree, far) for path in links) else 0)
    )


def visible(path: Path, tree: Path, far: Path) -> bool:
    """Whether a link leads far, and neither it nor a folder above it is hidden or a system's."""
    names = path.relative_to(tree).parts
    return path.resolve() == far and not any(
        name.startswith(".") or name.lower() in ("@eadir", "__macosx", "thumbs.db") for name in names
    )


def said(write: Callable[[], None]) -> tuple[str, bool]:
    """All that is told, and whether it went on to its end."""
    lines = io.StringIO()
    with redirect_stderr(lines):
        try:
            write()
        except UserError as error:
            return f"{lines.getvalue()}\n{error}", False
    return lines.getvalue(), True


@settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(ENTRY, max_size=12))
def test_pictures_taken_and_pictures_told_are_all_that_is_there(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple]
) -> None:
    """The numbers of the line add up to what another count finds, whatever the tree, and one line ends it if not."""
    root = tmp_path_factory.mktemp("root")
    tree, far, out = root / "tree", root / "far", root / "out"
    for place in (tree, far, out):
        place.mkdir()
    for number in range(2):
        (far / f"{number}.png").write_bytes(WHOLE["PNG"])
    for entry in entries:
        make(tree, far, entry)
    lines, whole = said(lambda: folder.write_unlabeled(tree, out, **OPTIONS))
    taken = len(np.load(out / "images.npy")) if whole else 0
    broken = lines.count("skipped: ")
    summary = lines.rpartition("; passed over: ")[2].partition("\n")[0] if "; passed over: " in lines else ""
    told = sum(int(number.replace(",", "")) for number in re.findall(r"(?:^|, )([\d,]*\d) ", summary))
    assert taken + broken + told == there(tree, far), lines
    assert not whole or taken > 0
