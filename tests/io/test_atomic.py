"""What is visible is whole: a block that fails leaves everything as it was."""

from pathlib import Path

import pytest

from exemplar.io.atomic import remove, replacing


def write(path: Path, *, folder: bool, content: str) -> None:
    if folder:
        path.mkdir()
        (path / "deep").mkdir()
        (path / "deep/file").write_text(content)
    else:
        path.write_text(content)


def read(path: Path) -> str:
    return (path / "deep/file" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("before", [None, "file", "folder"])
@pytest.mark.parametrize("after", ["file", "folder"])
def test_a_file_or_a_folder_takes_the_place_of_what_was_there(tmp_path: Path, before: str | None, after: str):
    """Until the block has ended others see the old content; then they see the new one, and nothing else is left."""
    path = tmp_path / "results" / "thing"
    if before:
        path.parent.mkdir()
        write(path, folder=before == "folder", content="old")
    with replacing(path) as temporary:
        write(temporary, folder=after == "folder", content="new")
        assert read(path) == "old" if before else not path.exists()
    assert read(path) == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_everything_as_it_was(tmp_path: Path, folder: bool, error: type[BaseException]):
    """Also Ctrl-C removes what was half written."""
    path = tmp_path / "thing"
    write(path, folder=folder, content="old")

    def fail() -> None:
        with replacing(path) as temporary:
            write(temporary, folder=folder, content="half")
            raise error

    with pytest.raises(error):
        fail()
    assert read(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_behind_is_no_obstacle(tmp_path: Path):
    """The temporary path is empty when the block begins."""
    path = tmp_path / "thing"
    with replacing(path) as temporary:
        temporary.write_text("old")
    write(temporary, folder=True, content="half")
    with replacing(path) as again:
        assert again == temporary
        assert not again.exists()
        again.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path):
    """DVC may have linked an output to its cache, which nobody may write to."""
    cache = tmp_path / "cache"
    write(cache, folder=True, content="cached")
    for target, path in [(cache / "deep/file", tmp_path / "file"), (cache, tmp_path / "folder")]:
        path.symlink_to(target)
        with replacing(path) as temporary:
            write(temporary, folder=target.is_dir(), content="new")
        assert read(path) == "new"
        assert not path.is_symlink()
    assert read(cache) == "cached"


def test_removing_what_is_not_there_does_nothing(tmp_path: Path):
    """So that clearing up needs no question first."""
    remove(tmp_path / "nothing")
