"""Kills of `dvc repro`, `dvc exp run` and the queue's worker with all that they started.

The same command again ends as it would have.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from test_pipeline import Copy, environment

COMMANDS = {
    "repro": ["repro"],
    "exp run": ["exp", "run", "-n", "survivor"],
    "exp run --temp": ["exp", "run", "--temp", "-n", "survivor"],
    "exp run --queue": ["exp", "run", "--queue", "-n", "survivor"],
}
KILLS = int(os.environ.get("KILLS", "200")) // 10
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
ENCODER = Path("data/encoders/exemplar.safetensors")
LONGEST_SECONDS = 15  # a stage takes about five, most of them for imports
SECONDS_FOR_A_WORKER = 30
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(36_000),
    pytest.mark.skipif(KILLS < 5, reason="takes minutes a mode; KILLS=50 or more kills DVC too"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]


def killed(copy: Copy, words: list[str], *, after_seconds: float, by: signal.Signals) -> bool:
    """Run a command of DVC's and send a signal to it and all its children; whether it was still at work."""
    command = [sys.executable, "-m", "dvc", *words]
    with (copy.folder.parent / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=copy.folder, env=environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        process.wait(after_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, by)
    return process.wait(120) != 0


def working(copy: Copy) -> psutil.Process | None:
    """The process of DVC's that runs a queued experiment of this copy."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "exec-run" in words and any(str(copy.folder) in word for word in words):
            return process
    return None


def start_worker(copy: Copy) -> None:
    """`dvc queue start`, whose worker lives on."""
    with (copy.folder.parent / "log.txt").open("ab") as log:
        command = [sys.executable, "-m", "dvc", "queue", "start"]
        subprocess.run(command, cwd=copy.folder, env=environment(), stdout=log, stderr=log, check=True)


def killed_worker(copy: Copy, words: list[str], *, after_seconds: float, by: signal.Signals) -> bool:
    """Queue an experiment and send a signal to its worker and all that it started; whether it was at work."""
    copy.call(sys.executable, "-m", "dvc", *words)
    start_worker(copy)
    end = time.monotonic() + SECONDS_FOR_A_WORKER
    while not (found := working(copy)) and time.monotonic() < end:
        time.sleep(0.2)
    time.sleep(after_seconds)
    if not found or not found.is_running():
        return False
    group = os.getpgid(found.pid)
    assert group != os.getpgrp()
    os.killpg(group, by)
    found.wait(120)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)  # a worker that was asked politely waits for the next experiment
    return True


def finish_queue(copy: Copy) -> None:
    """Queue it once more and wait until it is there."""
    end = time.monotonic() + 600
    copy.call(sys.executable, "-m", "dvc", *COMMANDS["exp run --queue"])
    start_worker(copy)
    while "survivor" not in copy.call(sys.executable, "-m", "dvc", "exp", "list", "--name-only").stdout:
        assert time.monotonic() < end, (copy.folder.parent / "log.txt").read_text()
        time.sleep(5)
    while working(copy):
        time.sleep(1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The encoder of a pipeline that nobody disturbed."""
    copy = Copy(tmp_path_factory.mktemp("whole") / "copy")
    done = copy.repro()
    assert done.returncode == 0, done.stderr
    return (copy.folder / ENCODER).read_bytes()


@pytest.mark.parametrize("mode", list(COMMANDS))
def test_kills_of_dvc(mode: str, whole: bytes, tmp_path: Path) -> None:
    """Weights are bit-equal, DVC has nothing left to do, and every run in MLflow is there once and finished."""
    copy, dice, met = Copy(tmp_path / "copy"), random.Random(mode), 0
    kill = killed_worker if "--queue" in mode else killed
    while met < KILLS and kill(
        copy, COMMANDS[mode], after_seconds=dice.uniform(1, LONGEST_SECONDS), by=dice.choice(SIGNALS)
    ):
        met += 1
    print(f"{mode}: {met} kills", file=sys.stderr, flush=True)
    if "--queue" in mode:
        finish_queue(copy)
    else:
        done = copy.call(sys.executable, "-m", "dvc", *COMMANDS[mode])
        again = done.returncode != 0 and "already exists" in done.stderr  # the last one had come to its end
        assert done.returncode == 0 or again, done.stderr
    if "--temp" in mode or "--queue" in mode:
        copy.call(sys.executable, "-m", "dvc", "exp", "apply", "survivor", check=True)
    assert (copy.folder / ENCODER).read_bytes() == whole
    assert "up to date" in copy.repro().stdout
    counted = Counter((run.data.tags["stage"], run.info.run_name) for run in copy.runs())
    assert set(counted.values()) == {1}, counted
    assert {run.info.status for run in copy.runs()} == {"FINISHED"}
