"""Where a killed stage finds what it had done, and parts of a long work that are not done twice."""

import multiprocessing
import os
import threading
import time
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns, rmtree

import numpy as np
import pytest
from filelock import FileLock

from exemplar.errors import UserError
from exemplar.io import unfinished


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own repository, which is not where the stage works."""
    (tmp_path / "clone").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_STAGE", "train@random")
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path


def work(*, dies: bool) -> str:
    """A stage that keeps its state, and what it found when it began."""
    with unfinished.work_folder("train", "random", settings={"epochs": 3}, inputs=[]) as folder:
        path = folder / "state"
        found = path.read_text() if path.exists() else ""
        path.write_text("state")
        if dies:
            raise KeyboardInterrupt
    return found


def test_what_a_kill_cut_short_is_removed_when_the_work_goes_on(repository: Path) -> None:
    """Whatever process now has the number of the one that was killed; what is whole stays."""
    with pytest.raises(KeyboardInterrupt):
        work(dies=True)
    (folder,) = (repository / ".checkpoints").glob("train-*")
    (folder / "images.units").mkdir()
    for number in (4194305, os.getppid()):
        (folder / "images.units" / f".000000.npy.{number}.tmp").touch()
        (folder / f".state.pt.{number}.tmp").mkdir()
    assert work(dies=False) == "state"
    assert {path.name for path in folder.rglob("*")} == {"state", "images.units", "done"}


def note() -> None:
    """What DVC does when a stage has ended."""
    Path("dvc.lock").write_text("stages: {}")


def test_a_checkpoint_outlives_a_stage_that_dies(repository: Path) -> None:
    """It lies in the user's repository, is found again by the same stage, and goes once DVC has noted the results."""
    with pytest.raises(KeyboardInterrupt):
        work(dies=True)
    assert len(list((repository / ".checkpoints").glob("train-random-*"))) == 1
    assert work(dies=False) == "state"
    assert work(dies=False) == "state", "DVC may have been killed before it noted the results"
    note()
    with unfinished.work_folder("compare", settings={}, inputs=[]):
        assert not list((repository / ".checkpoints").glob("train-random-*"))


def test_work_that_was_noted_is_done_anew() -> None:
    """`dvc repro --force` means it."""
    work(dies=False)
    note()
    assert work(dies=False) == ""


def test_nothing_is_kept_of_a_stage_that_was_started_by_hand(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will remove its results and start it again."""
    monkeypatch.delenv("DVC_STAGE")
    work(dies=False)
    assert not list((repository / ".checkpoints").glob("train-random-*"))


def test_what_another_clone_has_done_is_kept_for_a_day(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as that clone is there, or was until lately: DVC may have been killed before it noted the results."""
    work(dies=False)
    (repository / "other").mkdir()
    monkeypatch.chdir(repository / "other")
    (done,) = (repository / ".checkpoints").glob("train-random-*/done")
    for gone, days, kept in [(False, 3, True), (True, 0, True), (True, 3, False)]:
        if gone:
            rmtree(repository / "clone", ignore_errors=True)
        written = time.time() - days * 86_400
        os.utime(done, (written, written))
        with unfinished.work_folder("compare", settings={}, inputs=[]):
            assert done.exists() is kept


@pytest.fixture
def noted(repository: Path) -> list[Path]:
    """Folders of works that ended two days ago in a clone that is gone."""
    folders = [repository / ".checkpoints" / f"train-random-{number:032x}" for number in range(260)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "done").write_text(str(repository / "gone"))
        os.utime(folder / "done", (1e9, 1e9))
    return folders


def enter(barrier: "threading.Barrier", number: int) -> None:
    """Begin a work at the same moment as others do."""
    barrier.wait()
    with unfinished.work_folder("compare", settings={"number": number}, inputs=[]):
        pass


def test_works_that_begin_together_do_not_trip_over_what_another_removes(noted: list[Path]) -> None:
    """As the workers of a queue do on the day after a sweep."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    works = [context.Process(target=enter, args=(barrier, number)) for number in range(4)]
    for work in works:
        work.start()
    for work in works:
        work.join()
    assert [work.exitcode for work in works] == [0] * 4
    assert not any(folder.exists() for folder in noted)


def test_what_another_process_is_at_is_not_removed(noted: list[Path]) -> None:
    """It ended long ago, and was begun again."""
    locks = noted[0].parent / "locks"
    locks.mkdir()
    with FileLock(locks / noted[0].name), unfinished.work_folder("compare", settings={}, inputs=[]):
        assert [folder.exists() for folder in noted[:2]] == [True, False]


def test_outside_of_dvc_the_files_of_a_folder_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody vouches for them there."""
    monkeypatch.delenv("DVC_STAGE")
    folder = Path("data/surrogate")
    folder.mkdir(parents=True)
    keys = []
    for content in ("one", "one", "two"):
        (folder / "table.npy").write_text(content)
        keys.append(unfinished.key("compare", settings={}, inputs=[folder]))
    assert keys[0] == keys[1] != keys[2]


def test_outside_of_dvc_a_file_that_is_too_large_for_a_tag_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other seeds are other work, however many there are."""
    monkeypatch.delenv("DVC_STAGE")
    file = tmp_path / "seeds.npz"
    keys = set()
    for content in (b"a", b"b"):
        file.write_bytes(content)
        os.truncate(file, (1 << 26) + 1)
        keys.add(unfinished.key("compare", settings={}, inputs=[file]))
    assert len(keys) == 2


def test_other_settings_or_inputs_start_from_the_beginning() -> None:
    """The name of the file holds the digest of all that changes the result."""
    data = Path("data.npy")
    data.write_text("one")
    keys = [unfinished.key("compare", settings={"epochs": epochs}, inputs=[data]) for epochs in (3, 3, 4)]
    data.write_text("two")
    keys.append(unfinished.key("compare", settings={"epochs": 3}, inputs=[data]))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_the_code_of_a_stage_is_what_dvc_yaml_lists_for_it() -> None:
    """The packages that it runs and the file that its matrix names; what makes no numbers is left out."""
    names = {path.relative_to(unfinished.ROOT).as_posix() for path in unfinished.stage_code("train", "random")}
    assert {"stages/train.py", "exemplar/training/loop.py", "exemplar/methods/random.py"} < names
    folders = {name.removeprefix("exemplar/").split("/")[0] for name in names}
    assert folders.isdisjoint({"io", "runtime", "tracking", "probe", "report"})
    assert "exemplar/methods/exemplar.py" not in names


def test_other_code_starts_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed training does not go on under a changed loop; a comma in the report costs it nothing."""
    copy = tmp_path / "checkout"
    copytree(unfinished.ROOT / "exemplar", copy / "exemplar", ignore=ignore_patterns("__pycache__"))
    copytree(unfinished.ROOT / "stages", copy / "stages", ignore=ignore_patterns("__pycache__"))
    copyfile(unfinished.ROOT / "dvc.yaml", copy / "dvc.yaml")
    monkeypatch.setattr(unfinished, "ROOT", copy)
    before = unfinished.key("train", "random", settings={}, inputs=[])
    cases = [("report/page.py", True), ("runtime/progress.py", True), ("methods/exemplar.py", True)]
    for file, is_same in (*cases, ("training/loop.py", False)):
        with (copy / "exemplar" / file).open("a") as opened:
            opened.write("# one line more\n")
        assert (unfinished.key("train", "random", settings={}, inputs=[]) == before) is is_same


def test_the_same_work_is_not_done_by_two_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The second waits, says so, and finds all of it done."""
    second = threading.Thread(target=lambda: seen.append(work(dies=False)))
    seen: list[str] = []
    with unfinished.work_folder("train", "random", settings={"epochs": 3}, inputs=[]) as folder:
        (folder / "state").write_text("all done")
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive()
    second.join(timeout=30)
    assert seen == ["all done"]
    assert capsys.readouterr().err == "train-random: another process is at the same work; waiting for it\n"


def test_a_part_is_made_once(tmp_path: Path) -> None:
    """A later run finds it, bit for bit; each name is a part of its own, and nothing is kept without a folder."""
    random = np.random.default_rng(0)
    first, second = (unfinished.cached_result(tmp_path, "one", lambda: [random.random(5), 3]) for _ in range(2))
    assert first == second == [np.random.default_rng(0).random(5).tolist(), 3]
    assert unfinished.cached_result(tmp_path, "two", lambda: [random.random(5), 3]) != first
    assert unfinished.cached_result(None, "one", lambda: "anew") == "anew"


def killed() -> np.ndarray:
    """A process that does not come to the end."""
    raise KeyboardInterrupt


def test_a_part_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """It is done again."""
    folder = tmp_path / "unfinished"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        unfinished.cached_result(folder, "one", killed)
    assert not list(folder.iterdir())


def test_a_part_that_has_changed_is_not_used(tmp_path: Path) -> None:
    """A flipped bit or a lost end is told with the remedy."""
    unfinished.cached_result(tmp_path, "one", lambda: np.arange(1000))
    file = tmp_path / "one.json"
    whole = file.read_bytes()
    flipped = [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in (0, 8, 9, 500)]
    for broken in (*flipped, whole[: len(whole) // 2], b""):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=r"cannot read .*one\.json: .*; remove .* to do its work again"):
            unfinished.cached_result(tmp_path, "one", killed)


def test_a_part_that_is_larger_than_any_is_not_read(tmp_path: Path) -> None:
    """A sparse file of 10 GB takes no disk, but would take all memory."""
    with (tmp_path / "one.json").open("wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(UserError, match=r"cannot read .*one\.json: it has more than"):
        unfinished.cached_result(tmp_path, "one", killed)


STRANGE = {
    "no UTF-8": lambda done: done.write_bytes(b"\xff\xfe/\0"),
    "a name of 300 letters": lambda done: done.write_text("x" * 300),
    "a text of 10 GB": lambda done: os.truncate(done.touch() or done, 10_000_000_000),
    "a folder": lambda done: done.mkdir(),
    "a pipe": os.mkfifo,
    "a place that nobody may enter": lambda done: done.write_text("/proc/1/root/x"),
    "a link to nothing": lambda done: done.symlink_to("nowhere"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_no_stage_has_written_stops_none_and_stays(repository: Path, name: str) -> None:
    """A copied repository may bring any file beside the works of its own stages."""
    done = repository / ".checkpoints" / "train-random-0123" / "done"
    done.parent.mkdir(parents=True)
    STRANGE[name](done)
    assert work(dies=False) == ""
    assert os.path.lexists(done)


def test_a_file_in_the_place_of_a_work_is_named(repository: Path) -> None:
    """It is not ours, so nothing removes it."""
    with pytest.raises(KeyboardInterrupt):
        work(dies=True)
    (folder,) = (repository / ".checkpoints").glob("train-*")
    rmtree(folder)
    folder.write_text("mine")
    with pytest.raises(FileExistsError, match=folder.name):
        work(dies=False)
    assert folder.read_text() == "mine"


def test_a_link_is_never_written_or_removed_through(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the work, whose folder it may be, nor by the note that it has ended."""
    with pytest.raises(KeyboardInterrupt):
        work(dies=True)
    (folder,) = (repository / ".checkpoints").glob("train-*")
    (repository / "mine").write_text("mine")
    (folder / "done").symlink_to(repository / "mine")
    work(dies=False)
    assert (repository / "mine").read_text() == "mine"
    monkeypatch.delenv("DVC_STAGE")
    elsewhere = folder.rename(repository / "elsewhere")
    (elsewhere / ".mine.4194305.tmp").touch()
    folder.symlink_to(elsewhere)
    work(dies=False)
    assert {path.name for path in elsewhere.iterdir()} >= {"state", ".mine.4194305.tmp"}
    assert not folder.is_symlink()
