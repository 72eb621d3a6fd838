"""Units of work give the same wherever they run, are not done twice, and what ends one is told in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Timer

import numpy as np
import psutil
import pytest

from exemplar.errors import UserError
from exemplar.runtime import units, workers
from exemplar.runtime.signals import sigterm_raises
from exemplar.runtime.units import Unit
from exemplar.runtime.workers import SCHEDULER

PIECES = [Unit(rows, 10 * rows.start) for rows in units.ranges(23, 5)]


def squares(unit: Unit) -> np.ndarray:
    return np.array([unit.of + row**2 for row in unit.rows])


def noted(unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    return squares(unit), np.array([unit.rows.start])


def told(unit: Unit) -> np.ndarray:
    raise UserError(f"picture {unit.rows.start} is broken")


def counted(folder: Path, unit: Unit) -> np.ndarray:
    """Leaves a trace, and ends its process at the third unit where it is the first to do it."""
    mark = folder / f"{unit.rows.start}"
    mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
    if unit.rows.start == 10 and mark.read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    return squares(unit)


def run(work: units.Work, **options: object) -> np.ndarray:
    return np.concatenate(units.run(work, PIECES, things="rows", label="test", **options))


@pytest.fixture(params=[1, 3])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """As many as the threads of this process."""
    monkeypatch.setenv("EXEMPLAR_THREADS", str(request.param))
    return request.param


def test_ranges_cover_all_rows_in_order():
    """The last one may be shorter."""
    assert units.ranges(23, 5) == [range(5), range(5, 10), range(10, 15), range(15, 20), range(20, 23)]


def test_any_number_of_processes_gives_the_same(processes: int, tmp_path: Path):
    """Results come in the order of the units, and an array file has their rows."""
    expected = np.concatenate([squares(piece) for piece in PIECES])
    assert run(squares).tolist() == expected.tolist()
    notes = units.fill(tmp_path / "a.npy", noted, PIECES, shape=(23,), kind=np.int64, things="rows", label="a")
    assert np.load(tmp_path / "a.npy").tolist() == expected.tolist()
    assert np.concatenate(notes).tolist() == [0, 5, 10, 15, 20]


def test_a_long_name_of_the_temporary_folder_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As clusters give one; a socket there would have too long a name."""
    (folder := tmp_path / ("t" * 100)).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("EXEMPLAR_THREADS", "2")
    assert run(squares).tolist() == np.concatenate([squares(piece) for piece in PIECES]).tolist()


def test_the_first_mistake_in_the_order_of_the_units_is_told(processes: int):
    """In its own words, whichever process met it."""
    with pytest.raises(UserError, match=r"^picture 10 is broken$"):
        units.run(told, PIECES[2:], things="rows", label="test")


def test_a_process_that_is_killed_ends_the_work_and_what_was_done_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One line says it; the same work again does only what is missing."""
    monkeypatch.setenv("EXEMPLAR_THREADS", "2")
    with pytest.raises(UserError, match=r"^a process of this stage was killed, perhaps because memory ran out; run it"):
        run(partial(counted, tmp_path), kept=tmp_path / "kept")
    monkeypatch.setenv("EXEMPLAR_THREADS", "1")
    assert run(partial(counted, tmp_path), kept=tmp_path / "kept").tolist() == run(squares).tolist()
    done = {path.name: path.read_text() for path in tmp_path.glob("[0-9]*")}
    assert done["10"] == "xx"
    again = run(partial(counted, tmp_path), kept=tmp_path / "kept")
    assert again.tolist() == run(squares).tolist()
    assert {path.name: path.read_text() for path in tmp_path.glob("[0-9]*")} == done


def after_the_others(kept: Path, unit: Unit) -> np.ndarray:
    """The first unit ends when all others are noted, and fails where they do not get there."""
    until = time.monotonic() + 60
    while unit.rows.start == 0 and len(list(kept.glob("[0-9]*.npy"))) < len(PIECES) - 1:
        if time.monotonic() > until:
            raise UserError("the others are not noted")
        time.sleep(0.01)
    return squares(unit)


def test_a_unit_is_noted_when_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whichever is still at work before it; so a kill costs no unit that was whole."""
    monkeypatch.setenv("EXEMPLAR_THREADS", "2")
    assert run(partial(after_the_others, tmp_path), kept=tmp_path).tolist() == run(squares).tolist()


def waiting(folder: Path, unit: Unit) -> np.ndarray:
    """Leaves the number of its process, and takes a minute."""
    (folder / str(unit.rows.start)).write_text(str(os.getpid()))
    time.sleep(60)
    return squares(unit)


def test_processes_end_with_a_stage_that_is_killed(tmp_path: Path):
    """In the middle of their units."""
    program = f"import test_units as t; t.run(t.partial(t.waiting, t.Path({str(tmp_path)!r})))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "EXEMPLAR_THREADS": "2"}
    stage = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    processes = [psutil.Process(int(awaited(tmp_path / name))) for name in ("0", "5")]
    stage.kill()
    stage.wait()
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_a_file_that_was_removed_is_made_anew(tmp_path: Path):
    """What is noted of it beside it counts no more."""
    for _ in range(2):
        units.fill(tmp_path / "a.npy", noted, PIECES, shape=(23,), kind=np.int64, things="rows", label="a")
        assert np.load(tmp_path / "a.npy")[-1] == 22**2 + 200
        (tmp_path / "a.npy").unlink()


def test_what_came_with_a_copied_repository_is_never_written_through(tmp_path: Path):
    """A link in the place of the file or of a note, a note of other bytes, a pipe: each is made anew."""
    mine, made, notes = tmp_path / "mine", tmp_path / "a.npy", tmp_path / "a.units"
    mine.write_bytes(b"keep me")
    made.symlink_to(mine)
    for _ in range(2):
        units.fill(made, noted, PIECES, shape=(23,), kind=np.int64, things="rows", label="a")
        assert np.load(made)[-1] == 22**2 + 200
        (notes / "000000.npy").write_bytes(b"no note")
        (notes / "000001.npy").unlink()
        (notes / "000001.npy").symlink_to(mine)
    (notes / "000002.npy").unlink()
    os.mkfifo(notes / "000002.npy")
    units.fill(made, noted, PIECES, shape=(23,), kind=np.int64, things="rows", label="a")
    assert mine.read_bytes() == b"keep me"
    assert not made.is_symlink()


def test_a_worker_that_does_not_share_the_disk_is_told(tmp_path: Path):
    """Before it works: its rows would go into a file of its own, and count as done."""
    with pytest.raises(
        UserError, match=rf"^{tmp_path} on the machine .+ is not the folder where the stage was started"
    ):
        units.written(tmp_path / "a.npy", tmp_path / ".a.x.1.tmp", noted, PIECES[0])


def test_a_worker_of_another_version_is_told():
    """One line names it, before it works where versions differ, at its first unit where only the code does."""
    mine, other, none = ({"packages": {"exemplar": version}} for version in ("1.0", "0.9", None))
    workers.require_version(mine, {"tcp://a:1": mine})
    with pytest.raises(UserError, match=r"^exemplar 0.9 is installed where the worker tcp://b:1 runs, and 1.0 where"):
        workers.require_version(mine, {"tcp://a:1": mine, "tcp://b:1": other})
    with pytest.raises(UserError, match=r"^exemplar is not installed where the worker tcp://b:1 runs, and 1.0 where"):
        workers.require_version(mine, {"tcp://b:1": none})
    assert workers.on_same_code(workers.digest_of_code(), squares, PIECES[0]).tolist() == squares(PIECES[0]).tolist()
    with pytest.raises(UserError, match=r"^.+exemplar on the machine .+ has other code than where the stage was"):
        workers.on_same_code("0" * 32, squares, PIECES[0])


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch):
    """The line names the variable and what was expected."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "SECONDS_FOR_AN_ANSWER", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        monkeypatch.setenv(SCHEDULER, address)
        with pytest.raises(UserError, match=f"^{SCHEDULER} is '{address}', where no scheduler of Dask answers"):
            run(squares)


@pytest.mark.parametrize(("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_waiting_for_workers_ends_at_once(
    number: int, end: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A scheduler without workers is waited for, which one line says, until Ctrl-C or SIGTERM."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster, sigterm_raises():
        monkeypatch.setenv(SCHEDULER, cluster.scheduler_address)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
        Timer(1, os.kill, (os.getpid(), number)).start()
        began = time.monotonic()
        try:
            with pytest.raises(end):
                run(squares)
        finally:
            signal.signal(signal.SIGINT, before)
        assert time.monotonic() - began < 20
    said = [line for line in capsys.readouterr().err.splitlines() if "scheduler" in line]
    assert said == [f"the scheduler at {cluster.scheduler_address} has no workers yet; the work begins when one comes"]


def ended(scheduler: int, unit: Unit) -> np.ndarray:
    """Ends the scheduler, and never answers."""
    os.kill(scheduler, signal.SIGKILL)
    time.sleep(60)
    return squares(unit)


@pytest.fixture
def scheduler(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler in a process of its own, with a worker or as many as the test asks for, as on a cluster."""
    pytest.importorskip("distributed")
    options = ["--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    started = []
    for program in ("scheduler --host 127.0.0.1 --port 0", *["worker --nthreads 1"] * getattr(request, "param", 1)):
        name, *given = program.split()
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *given, *options]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
    yield started[0]
    for process in started:
        process.kill()
        process.wait()


def test_a_scheduler_that_goes_away_is_told(
    scheduler: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its units are lost; what was done before stays."""
    address = json.loads(awaited(tmp_path / "scheduler.json"))["address"]
    monkeypatch.setenv(SCHEDULER, address)
    with pytest.raises(UserError, match=f"^the scheduler at {address} went away; once it is back, the same command"):
        run(partial(ended, scheduler.pid))


@pytest.mark.parametrize("scheduler", [0], indirect=True)
def test_a_scheduler_that_goes_away_while_workers_are_waited_for_is_told(
    scheduler: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In the same line."""
    address = json.loads(awaited(tmp_path / "scheduler.json"))["address"]
    monkeypatch.setenv(SCHEDULER, address)
    monkeypatch.setattr(workers, "SECONDS_FOR_AN_ANSWER", 3)
    Timer(1, scheduler.kill).start()
    with pytest.raises(UserError, match=f"^the scheduler at {address} went away; once it is back, the same command"):
        run(squares)


def awaited(file: Path) -> str:
    """The content of a file, once it is there."""
    while not file.exists() or not file.read_text():
        time.sleep(0.1)
    return file.read_text()


def test_a_cluster_gives_the_same_though_one_of_its_workers_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The unit that was lost runs again elsewhere, each is noted when it has ended, and a mistake has its own words."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        monkeypatch.setenv(SCHEDULER, cluster.scheduler_address)
        kept = tmp_path / "kept"
        assert run(partial(after_the_others, kept), kept=kept).tolist() == run(squares).tolist()
        assert run(partial(counted, tmp_path)).tolist() == run(squares).tolist()
        assert (tmp_path / "10").read_text() == "xx"
        with pytest.raises(UserError, match=r"^picture 10 is broken$"):
            units.run(told, PIECES[2:], things="rows", label="test")
