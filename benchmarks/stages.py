"""`python -m benchmarks.stages dvc repro` runs a command of DVC's and tells what each stage costs: time, memory, disk.

A stage's time is from its first line to that of the next one, so that what DVC does with its results counts as well.
"""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from benchmarks.measure import SECONDS_BETWEEN_LOOKS, anonymous_memory

BEGINS = re.compile(r"Running stage '(?P<stage>[^']+)'")
LOCK = Path("dvc.lock")
HEAD = "| stage | seconds | seconds of processors | memory, GB | result on the disk, MB |\n|---|---|---|---|---|"


@dataclass
class Cost:
    """Of a stage: seconds, those of all its processes on all cores, its largest memory in GB without mapped files."""

    stage: str
    seconds: float
    cpu_seconds: float
    memory: float = 0.0


class Watch:
    """What a process and its children take, stage by stage."""

    def __init__(self, process: psutil.Process) -> None:
        self.process, self.costs = process, list[Cost]()

    def begin(self, stage: str) -> None:
        """From now on it is this stage."""
        self.end()
        self.costs.append(Cost(stage, -time.monotonic(), -self.cpu_seconds()))

    def end(self) -> None:
        """The last stage ends."""
        if self.costs and self.costs[-1].seconds < 0:
            self.costs[-1].seconds += time.monotonic()
            self.costs[-1].cpu_seconds += self.cpu_seconds()

    def look(self) -> None:
        """Note the memory of the moment; that of DVC itself is left out."""
        if self.costs:
            with suppress(psutil.Error):
                memory = sum(anonymous_memory(child) for child in self.process.children())
                self.costs[-1].memory = max(self.costs[-1].memory, memory)

    def cpu_seconds(self) -> float:
        """Of the process and of all that it started."""
        whole = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.Error):
                whole += sum(process.cpu_times()[:4])  # of those, too, that have ended and were waited for
        return whole


@contextmanager
def looking(watch: Watch) -> Iterator[None]:
    """Look at the memory again and again in the block."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            watch.look()

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield
    finally:
        done.set()
        looker.join()


def run(command: list[str]) -> tuple[int, list[Cost]]:
    """The status of a command, whose lines are shown as they come, and what the stages that it ran cost."""
    try:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
    except OSError as error:
        sys.exit(f"error: cannot run {command[0]!r} ({error.strerror}); expected a command of DVC's")
    with started:
        watch = Watch(psutil.Process(started.pid))
        with looking(watch):
            for line in started.stdout or ():
                print(line, end="", flush=True)
                if found := BEGINS.search(line):
                    watch.begin(found["stage"])
            with suppress(psutil.Error):
                watch.end()
    return started.returncode, watch.costs


def sizes(lock: dict[str, Any]) -> dict[str, int]:
    """Bytes of all that each stage made, as dvc.lock has them."""
    return {
        name: sum(int(out.get("size", 0)) for out in stage.get("outs", [])) for name, stage in lock["stages"].items()
    }


def lines(costs: list[Cost], made: dict[str, int]) -> Iterator[str]:
    """The table."""
    yield HEAD
    for cost in costs:
        numbers = f"{cost.seconds:,.0f} | {cost.cpu_seconds:,.0f} | {cost.memory:.2f}"
        yield f"| {cost.stage} | {numbers} | {made.get(cost.stage, 0) / 1e6:,.1f} |"


def main(command: list[str]) -> None:
    """Run the command, print the table, and leave with the command's status."""
    if not command:
        sys.exit("error: expected a command of DVC's: python -m benchmarks.stages dvc repro")
    signal.signal(signal.SIGINT, lambda *_: None)  # it is for the command, whose end is waited for
    status, costs = run(command)
    lock = YAML(typ="safe").load(LOCK) if LOCK.exists() else {"stages": {}}
    print(*lines(costs, sizes(lock)), sep="\n", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
