"""`python -m benchmarks.stages dvc repro` runs a command of DVC's and tells what each stage costs: time, memory, disk.

A stage's time is from its first line to that of the next one, so that what DVC does with its results counts as well.
With `--save FILE` before the command the figures are kept, and with `--beside FILE` those of another command stand in
the same table.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from benchmarks.measure import SECONDS_BETWEEN_LOOKS, anonymous_memory, first_line

BEGINS = re.compile(r"Running stage '(?P<stage>[^']+)'")
LOCK = Path("dvc.lock")
NAMES = ("seconds", "seconds of processors", "memory, GB", "result on the disk, MB")


@dataclass
class Cost:
    """Of a stage: seconds, those of all its processes on all cores, its largest memory in GB without mapped files.

    `made` are the bytes of its results.
    """

    stage: str
    seconds: float
    cpu_seconds: float
    memory: float = 0.0
    made: int = 0


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


def numbers(cost: Cost | None) -> list[str]:
    """The cells of a stage; one that did not run has none."""
    if cost is None:
        return ["–"] * len(NAMES)
    return [f"{cost.seconds:,.0f}", f"{cost.cpu_seconds:,.0f}", f"{cost.memory:.2f}", f"{cost.made / 1e6:,.1f}"]


def lines(costs: list[Cost], earlier: list[Cost] | None = None) -> Iterator[str]:
    """The table, with the figures of an earlier command beside those of this one."""
    now, before = ({each.stage: each for each in found} for found in (costs, earlier or []))
    names = NAMES if earlier is None else [each for name in NAMES for each in (f"{name}: earlier", "now")]
    yield f"| stage | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for stage in before | now:
        cells = numbers(now.get(stage))
        if earlier is not None:
            pairs = zip(numbers(before.get(stage)), cells, strict=True)
            cells = [each for pair in pairs for each in pair]
        yield f"| {stage} | {' | '.join(cells)} |"


def load(file: Path) -> list[Cost]:
    """What `--save` wrote."""
    try:
        return [Cost(**each) for each in json.loads(file.read_text("utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"error: cannot read {file} ({error}); expected what --save has written")


def save(costs: list[Cost], file: Path) -> None:
    """Keep the figures; those of stages that did not run this time stay."""
    kept = {each.stage: each for each in [*(load(file) if file.exists() else []), *costs]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(each) for each in kept.values()], indent=1), "utf-8")


def main() -> None:
    """Run the command, print the table, and leave with the command's status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stages", description=first_line(__doc__), allow_abbrev=False
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the figures there")
    parser.add_argument("--beside", type=Path, metavar="FILE", help="show them beside those that were kept there")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what is run, such as dvc repro")
    given = parser.parse_args()
    if not given.command:
        sys.exit("error: expected a command of DVC's: python -m benchmarks.stages dvc repro")
    earlier = load(given.beside) if given.beside else None
    signal.signal(signal.SIGINT, lambda *_: None)  # it is for the command, whose end is waited for
    status, costs = run(given.command)
    made = sizes(YAML(typ="safe").load(LOCK) if LOCK.exists() else {"stages": {}})
    costs = [replace(each, made=made.get(each.stage, 0)) for each in costs]
    if given.save:
        save(costs, given.save)
    print(*lines(costs, earlier), sep="\n", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
