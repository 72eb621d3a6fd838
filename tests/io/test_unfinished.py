"""Where a killed stage finds what it had done."""

import os
import threading
import time
from pathlib import Path
from shutil import rmtree

import pytest

from exemplar.io import unfinished


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own repository, which is not where the stage works."""
    (tmp_path / "clone").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_STAGE", "train@x")
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path


def work(*, dies: bool) -> str:
    """A stage that keeps its state, and what it found when it began."""
    with unfinished.work_folder("train-x", settings={"epochs": 3}, inputs=[]) as folder:
        path = folder / "state"
        found = path.read_text() if path.exists() else ""
        path.write_text("state")
        if dies:
            raise KeyboardInterrupt
    return found


def note() -> None:
    """What DVC does when a stage has ended."""
    Path("dvc.lock").write_text("stages: {}")


def test_a_checkpoint_outlives_a_stage_that_dies(repository: Path) -> None:
    """It lies in the user's repository, is found again by the same stage, and goes once DVC has noted the results."""
    with pytest.raises(KeyboardInterrupt):
        work(dies=True)
    assert len(list((repository / ".checkpoints").glob("train-x-*"))) == 1
    assert work(dies=False) == "state"
    assert work(dies=False) == "state", "DVC may have been killed before it noted the results"
    note()
    with unfinished.work_folder("compare", settings={}, inputs=[]):
        assert not list((repository / ".checkpoints").glob("train-x-*"))


def test_work_that_was_noted_is_done_anew() -> None:
    """`dvc repro --force` means it."""
    work(dies=False)
    note()
    assert work(dies=False) == ""


def test_nothing_is_kept_of_a_stage_that_was_started_by_hand(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will remove its results and start it again."""
    monkeypatch.delenv("DVC_STAGE")
    work(dies=False)
    assert not list((repository / ".checkpoints").glob("train-x-*"))


def test_what_another_clone_has_done_is_kept_for_a_day(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as that clone is there, or was until lately: DVC may have been killed before it noted the results."""
    work(dies=False)
    (repository / "other").mkdir()
    monkeypatch.chdir(repository / "other")
    (done,) = (repository / ".checkpoints").glob("train-x-*/done")
    for gone, days, kept in [(False, 3, True), (True, 0, True), (True, 3, False)]:
        if gone:
            rmtree(repository / "clone", ignore_errors=True)
        written = time.time() - days * 86_400
        os.utime(done, (written, written))
        with unfinished.work_folder("compare", settings={}, inputs=[]):
            assert done.exists() is kept


def test_outside_of_dvc_the_files_of_a_folder_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody vouches for them there."""
    monkeypatch.delenv("DVC_STAGE")
    folder = Path("data/surrogate")
    folder.mkdir(parents=True)
    keys = []
    for content in ("one", "one", "two"):
        (folder / "table.npy").write_text(content)
        keys.append(unfinished.key({}, [folder]))
    assert keys[0] == keys[1] != keys[2]


def test_other_numbers_or_inputs_start_from_the_beginning() -> None:
    """The name of the file holds the digest of all that changes the result."""
    data = Path("data.npy")
    data.write_text("one")
    keys = [unfinished.key({"epochs": epochs}, [data]) for epochs in (3, 3, 4)]
    data.write_text("two")
    keys.append(unfinished.key({"epochs": 3}, [data]))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_the_same_work_is_not_done_by_two_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The second waits, says so, and finds all of it done."""
    second = threading.Thread(target=lambda: seen.append(work(dies=False)))
    seen: list[str] = []
    with unfinished.work_folder("train-x", settings={"epochs": 3}, inputs=[]) as folder:
        (folder / "state").write_text("all done")
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive()
    second.join(timeout=30)
    assert seen == ["all done"]
    assert capsys.readouterr().err == "train-x: another process is at the same work; waiting for it\n"
