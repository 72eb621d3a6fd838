"""Rows of the benchmark: two ways to do the same work, timed in turn, or one way against a limit."""

import argparse
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from exemplar.runtime.device import has_bfloat16_units

Work = Callable[[], object]
SECONDS_BETWEEN_LOOKS = 0.05


def precision() -> str:
    """The precision that trains fastest on this machine's CPU."""
    return "bfloat16" if has_bfloat16_units(torch.device("cpu")) else "float32"


def first_line(docstring: str | None) -> str:
    """What --help says of a program."""
    return str(docstring).splitlines()[0]


def take_no_options(name: str, docstring: str | None) -> None:
    """Say what a program does and leave where --help asks for it, or refuse another option, before anything runs."""
    argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=first_line(docstring)).parse_args()


class NotTheSameError(Exception):
    """The two sides of a row do not compute the same thing, so their times must not be compared."""


class LackingError(Exception):
    """What a row needs is not on this machine."""


@dataclass(frozen=True)
class Row:
    """One line of the table. With `theirs` the target is the least `ratio`; without, it is the most that `ours` may be.

    `spread` is the lowest and the highest of the repeats: of the ratio, or of ours where there is none.
    """

    name: str
    ours: float
    theirs: float | None
    ratio: float | None
    target: float
    unit: str
    spread: tuple[float, float]

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        return self.ours <= self.target if self.ratio is None else self.ratio >= self.target


Rows = Iterator[Row]
Works = Iterator[Callable[[], Rows]]
"""What a group of rows consists of: each measures a row or several, and may fail without the others."""


def check_same(what: str, same: bool) -> None:
    """Raise NotTheSameError unless the two sides of a row agree."""
    if not same:
        raise NotTheSameError(f"{what}: the two sides differ")


def seconds(work: Work) -> float:
    """How long it takes once."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(*works: Work, repeats: int, warm: bool = True) -> list[list[float]]:
    """The seconds of every work, A B A B ..., after one run of each that does not count."""
    if warm:
        for work in works:
            work()
    return [list(column) for column in zip(*[[seconds(work) for work in works] for _ in range(repeats)], strict=True)]


def rates(
    name: str, ours: Work, theirs: Work, *, amount: tuple[float, float], unit: str, target: float, repeats: int
) -> Row:
    """A row of two rates; `amount` is how many units one run of ours and one of theirs does."""
    mine, other = in_turn(ours, theirs, repeats=repeats)
    fast, slow = ([count / value for value in column] for count, column in zip(amount, (mine, other), strict=True))
    return pair(name, fast, slow, ratios=[a / b for a, b in zip(fast, slow, strict=True)], unit=unit, target=target)


def durations(
    name: str, ours: Work, theirs: Work, *, times: tuple[float, float] = (1, 1), target: float, repeats: int
) -> Row:
    """A row of two durations; `times` is how many such runs the whole work of ours and of theirs would be."""
    mine, other = (
        [value * factor for value in column]
        for column, factor in zip(in_turn(ours, theirs, repeats=repeats, warm=False), times, strict=True)
    )
    return pair(name, mine, other, ratios=[b / a for a, b in zip(mine, other, strict=True)], unit="s", target=target)


def pair(
    name: str, ours: Sequence[float], theirs: Sequence[float], *, ratios: Sequence[float], unit: str, target: float
) -> Row:
    """A row from the repeats of both sides."""
    middle = statistics.median
    return Row(name, middle(ours), middle(theirs), middle(ratios), target, unit, (min(ratios), max(ratios)))


def limit(name: str, values: Sequence[float], *, most: float, unit: str) -> Row:
    """A row without a peer: a number that must not be above `most`."""
    return Row(name, statistics.median(values), None, None, most, unit, (min(values), max(values)))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with this many threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_process(work: Callable[..., Any], *arguments: object) -> tuple[Any, float]:
    """What a function returns in a fresh process, and that process's largest memory in GB (10^9 bytes).

    Pages of mapped files are not counted where Linux tells them apart: the system takes them back when it needs them.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh:
        return fresh.submit(watched, torch.get_num_threads(), work, *arguments).result()


def watched(count: int, work: Callable[..., Any], *arguments: object) -> tuple[Any, float]:
    """Do the work on so many threads, and look at the memory meanwhile."""
    torch.set_num_threads(count)
    looks, done = [anonymous_memory()], threading.Event()

    def look() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            looks.append(anonymous_memory())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        return work(*arguments), max(looks)
    finally:
        done.set()
        watcher.join()


def anonymous_memory(of: psutil.Process | None = None) -> float:
    """Memory of a process, or of this one, and of its children that no file stands behind, in GB (10^9 bytes).

    Pages that forks share count for each of them: to look at each page's owners would disturb what is measured.
    Other systems than Linux do not tell it apart: there it is all memory of the process itself.
    """
    whole, first = 0, of or psutil.Process()
    if not Path("/proc/self/status").exists():
        return first.memory_info().rss / 1e9
    for process in (first, *first.children(recursive=True)):
        with suppress(OSError):  # it has ended
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            whole += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
    return whole / 1e9
