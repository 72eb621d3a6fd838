"""Sources: what lies in a folder, and the digest by which a folder is known."""

import os
from hashlib import md5
from pathlib import Path, PurePath

import pytest
from somebody import as_somebody

from exemplar.io.sources import digest, source_digest
from exemplar.io.trees import look, suffix_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two pictures in two folders."""
    root = tmp_path / "tree"
    for name in ("b/2.png", "a/1.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_the_digest_of_a_tree_is_that_of_names_and_contents(tree: Path) -> None:
    """Written out: the md5 of a line for each file, its name, a zero byte and the md5 of its content."""
    lines = [name + b"\0" + md5(name).hexdigest().encode() for name in (b"a/1.jpg", b"b/2.png")]
    assert source_digest(tree) == digest(tree) == md5(b"\n".join(lines)).hexdigest()


def test_only_pictures_change_the_digest_of_a_source_that_has_some(tree: Path) -> None:
    """Notes, thumbnails and a system's files beside them do not; another picture, name or content does."""
    before = source_digest(tree)
    for name in ("a/notes.txt", "a/Thumbs.db", ".DS_Store", "@eaDir/1.jpg", "b/desktop.ini"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    assert source_digest(tree) == before != digest(tree)
    (tree / "a" / "1.jpg").rename(tree / "a" / "3.jpg")
    assert source_digest(tree) != before


def test_without_pictures_all_files_count(tmp_path: Path) -> None:
    """As in an unpacked set of arrays."""
    (tmp_path / "data_batch_1").write_bytes(b"x")
    before = source_digest(tmp_path)
    (tmp_path / "data_batch_2").write_bytes(b"y")
    assert source_digest(tmp_path) != before == source_digest(tmp_path / ".")[:0] + before


def test_a_linked_folder_is_part_of_the_tree_and_of_its_digest(tree: Path, tmp_path: Path) -> None:
    """Once: a loop, or another link to what was read already, is passed over, and so is a link to nothing."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "3.png").write_bytes(b"3")
    before = source_digest(tree)
    (tree / "c").symlink_to(tmp_path / "far")
    assert source_digest(tree) != before
    (tree / "a" / "loop").symlink_to(tree)
    (tree / "d").symlink_to(tmp_path / "far")
    (tree / "self").symlink_to("self")
    found = look(tree)
    assert found.files == ["a/1.jpg", "b/2.png", "c/3.png"]
    assert {name: cause.split()[0] for name, cause in found.passed_over.items()} == dict.fromkeys(
        ("a/loop", "d", "self"), "links"
    )


def test_files_lie_in_the_order_of_the_parts_of_their_paths(tmp_path: Path) -> None:
    """As `PurePath` orders them: a folder comes before what its name begins, whatever sign follows there."""
    names = [
        "a/b/1.jpg",
        "a/1.jpg",
        "a b/1.jpg",
        "a.b/1.jpg",
        "a\n/1.jpg",
        "A/1.jpg",
        "ä.jpg",
        os.fsdecode(b"\xff.jpg"),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert look(tmp_path).files == [str(path) for path in sorted(map(PurePath, names))]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.JPG", ".jpg"),
        ("a.", ""),
        (".jpg", ""),
        ("..jpg", ".jpg"),
        ("a..png", ".png"),
        ("a.b/c", ""),
        ("a.tar.gz", ".gz"),
        ("a", ""),
        ("a.b/.c.d", ".d"),
    ],
)
def test_a_suffix_is_that_of_the_last_part(name: str, suffix: str) -> None:
    """From its last dot on, in lower case; a dot that begins or ends a name begins no suffix."""
    assert suffix_of(name) == suffix


@pytest.mark.parametrize("closed", ["a", "a/1.jpg"])
def test_what_may_not_be_read_is_named(closed: str) -> None:
    """A folder or a picture without rights ends it, with its own name: fewer pictures would be another set."""
    with as_somebody() as root:
        (root / "a").mkdir()
        (root / "a" / "1.jpg").touch()
        (root / closed).chmod(0)
        try:
            with pytest.raises(PermissionError) as refused:
                source_digest(root)
        finally:
            (root / closed).chmod(0o700)
        assert refused.value.filename == str(root / closed)


def test_a_system_s_folder_that_may_not_be_opened_stops_nothing() -> None:
    """The root of every disk has one, which belongs to root."""
    with as_somebody() as root:
        (root / "1.jpg").touch()
        (root / "lost+found").mkdir(mode=0)
        assert look(root).files == ["1.jpg"]
        assert list(look(root).passed_over) == ["lost+found"]
