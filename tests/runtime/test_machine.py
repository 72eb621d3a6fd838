"""How processes share one machine."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exemplar.errors import UserError
from exemplar.runtime import machine
from exemplar.runtime.device import own_gpu

GPUS = ["GPU-a", "GPU-b", "GPU-c"]
HOLDER = """
import sys
from pathlib import Path
from exemplar.runtime import machine
print(machine.take(sys.argv[2:], most=1, folder=Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _nothing_held() -> Iterator[None]:
    """Every test begins and ends without a GPU."""
    yield
    for lock in machine.HELD.values():
        lock.release()
    machine.HELD.clear()


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Another process, which has taken the first GPU that was free."""
    environment = {**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[2])}
    words = [sys.executable, "-c", HOLDER, str(folder), *GPUS]
    started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert started.stdout is not None
    started.stdout.readline()
    return started


def test_the_folder_of_locks_needs_no_name_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container there may be none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert machine.lock_folder() == tmp_path / f"exemplar-{os.getuid()}"
    assert machine.lock_folder().is_dir()


def test_a_gpu_has_one_process(tmp_path: Path) -> None:
    """The next process gets the next one, a training of several all that are left; the end of a process frees its own,
    were it killed.
    """
    other = holder(tmp_path)
    try:
        assert machine.take(GPUS, most=3, folder=tmp_path) == [1, 2]
        assert machine.take(GPUS, most=1, folder=tmp_path) == [1]
    finally:
        other.kill()
        other.communicate()
    assert machine.try_lock(["GPU-a"], 1, tmp_path) == [0]


def test_who_finds_no_gpu_waits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes on as soon as one is free."""
    other = holder(tmp_path)
    end = threading.Timer(0.3, other.kill)
    end.start()
    assert machine.take(GPUS[:1], most=1, folder=tmp_path) == [0]
    other.communicate()
    assert capsys.readouterr().err == "all 1 GPUs are taken by other processes; waiting for one\n"


def test_processes_that_were_started_together_have_the_gpu_of_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts more of them than there are GPUs is told."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert [own_gpu(GPUS, local_rank=str(rank)) for rank in (0, 2)] == [0, 2]
    with pytest.raises(UserError, match=r"^process 4 on this machine has no GPU: PyTorch sees 3; start no more$"):
        own_gpu(GPUS, local_rank="3")


def test_workers_of_the_queue_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cores of this process, divided by the workers that run and by the processes of one training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = machine.queue_workers()
    code = "import sys; print('here', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, "exp", "queue-worker", "dvc-exp-0-1@localhost"]
    workers = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        assert machine.queue_workers() == before + 2
        assert machine.fair_threads() == max(1, cores // (before + 2))
    finally:
        for worker in workers:
            worker.communicate()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(10 * cores))
    assert machine.fair_threads() == 1
