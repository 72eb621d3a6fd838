"""Kills of `dvc repro`, `dvc exp run` and the queue's worker with all that they started.

The same command again ends as it would have. DVC and its stages run as forks of a process that has imported
everything (forking.py), or else most kills would meet an import.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from jobs import Job
from test_pipeline import CHECKOUT, Copy, environment

from exemplar import doctor

COMMANDS = {
    "repro": ["repro"],
    "exp run": ["exp", "run", "-n", "survivor"],
    "exp run --temp": ["exp", "run", "--temp", "-n", "survivor"],
    "exp run --queue": ["exp", "run", "--queue", "-n", "survivor"],
}
KILLS = max(20, int(os.environ.get("KILLS", "200")) // 10)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
ENCODER = Path("data/encoders/exemplar.safetensors")
LONGEST_SECONDS = 5
SECONDS_FOR_A_WORKER = 60
PYTHON = f"""#!/bin/sh
# `python -m stages.train exemplar` as a fork of the server
shift
stage=${{1#stages.}}
shift
exec {sys.executable} -S {CHECKOUT}/tests/faults/forking.py %s "$stage" "$@"
"""
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(36_000),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]


def end_worker(worker: psutil.Process, group: int) -> None:
    """Wait for the end of an experiment, and end what started it: it would wait for the next one."""
    worker.wait(600)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Repository:
    """A copy of this repository in which DVC and its stages are forks of the server."""

    def __init__(self, server: Path, folder: Path) -> None:
        folder.mkdir()
        self.copy, self.log, self.server = Copy(folder / "copy"), folder / "log.txt", server
        programs = folder / "programs"
        programs.mkdir()
        (programs / "python").write_text(PYTHON % server)
        (programs / "python").chmod(0o755)
        known = environment()
        self.environment = {**known, "PATH": f"{programs}{os.pathsep}{known['PATH']}", "EXEMPLAR_THREADS": "1"}

    def start(self, *words: str) -> Job:
        """Begin a command of DVC's; before it goes what `make repro` and `make doctor` would have removed."""
        for finding in doctor.broken_by_kills(self.copy.folder):
            print(finding.line(), file=sys.stderr, flush=True)
            Path(finding.remedy.removeprefix("rm ")).unlink()
        return Job(self.server, ["dvc", *words], self.copy.folder, environment=self.environment, log=self.log)

    def dvc(self, *words: str) -> int:
        """A command of DVC's; its status."""
        return self.start(*words).wait()

    def worker(self) -> psutil.Process | None:
        """The process that runs a queued experiment here."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "exec-run" in words and any(str(self.copy.folder) in word for word in words):
                return process
        return None

    def queue(self) -> psutil.Process | None:
        """Queue the experiment and start a worker, which lives on; its process once it is at work."""
        self.dvc(*COMMANDS["exp run --queue"])
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "dvc", "queue", "start"]
            where = {"cwd": self.copy.folder, "env": self.environment}
            subprocess.run(command, **where, stdout=log, stderr=log, check=True)
        end = time.monotonic() + SECONDS_FOR_A_WORKER
        while not (found := self.worker()) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def is_killed(self, mode: str, *, after_seconds: float, by: signal.Signals) -> bool:
        """Start and kill after so much time, with all that was started; whether it was at work."""
        if "--queue" not in mode:
            return self.start(*COMMANDS[mode]).kill_all(by, after_seconds=after_seconds) != 0
        worker = self.queue()
        time.sleep(after_seconds)
        if not worker or not worker.is_running():
            return False
        group = os.getpgid(worker.pid)
        assert group != os.getpgrp()
        os.killpg(group, by)
        end_worker(worker, group)
        return True

    def finish(self, mode: str) -> None:
        """Start once more, and wait for the end."""
        if worker := "--queue" in mode and self.queue():
            group = os.getpgid(worker.pid)
            worker.wait(600)
            self.wait_for("survivor")
            end_worker(worker, group)
        elif "--queue" not in mode:
            status = self.dvc(*COMMANDS[mode])
            again = status and "existing experiment 'survivor'" in self.log.read_text()  # the last had come to its end
            assert status == 0 or again, self.log.read_text()
        if "--temp" in mode or "--queue" in mode:
            assert self.dvc("exp", "apply", "survivor") == 0, self.log.read_text()

    def wait_for(self, experiment: str) -> None:
        """Until DVC has taken its results from where the worker made them."""
        end = time.monotonic() + SECONDS_FOR_A_WORKER
        while experiment not in self.copy.call(sys.executable, "-m", "dvc", "exp", "list", "--name-only").stdout:
            assert time.monotonic() < end, self.log.read_text()

    def check(self, whole: bytes) -> None:
        """Weights are bit-equal, DVC has nothing left to do, and every run in MLflow is there once and finished."""
        assert (self.copy.folder / ENCODER).read_bytes() == whole
        assert "up to date" in self.copy.repro().stdout
        counted = Counter((run.data.tags["stage"], run.info.run_name) for run in self.copy.runs())
        assert set(counted.values()) == {1}, counted
        assert {run.info.status for run in self.copy.runs()} == {"FINISHED"}


@pytest.fixture(scope="module")
def whole(server: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The encoder of a pipeline that nobody disturbed."""
    repository = Repository(server, tmp_path_factory.mktemp("whole") / "w")
    started = time.monotonic()
    assert repository.dvc("repro") == 0, repository.log.read_text()
    print(f"undisturbed: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return (repository.copy.folder / ENCODER).read_bytes()


@pytest.mark.parametrize("mode", list(COMMANDS))
def test_kills_of_dvc(mode: str, server: Path, whole: bytes, tmp_path: Path) -> None:
    """KILLS that met a process at work, in as many pipelines as that takes."""
    dice, met, number = random.Random(mode), 0, 0
    while met < KILLS:
        number += 1
        repository = Repository(server, tmp_path / str(number))
        while met < KILLS and repository.is_killed(
            mode, after_seconds=dice.uniform(0.2, LONGEST_SECONDS), by=dice.choice(SIGNALS)
        ):
            met += 1
        repository.finish(mode)
        repository.check(whole)
        print(f"{mode}: {met} kills, {number} pipelines ended bit-equal", file=sys.stderr, flush=True)
        shutil.rmtree(repository.copy.folder, ignore_errors=True)  # a worker may still be dying
