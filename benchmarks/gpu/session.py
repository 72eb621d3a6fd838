"""What every part of the GPU's measurements is given, how it times work, and the rows that it yields."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import LackingError
from exemplar.errors import UserError, one_line
from exemplar.runtime.device import Compute, enough_memory

Work = Callable[[], object]
Row = dict[str, Any]
"""`name`, and `value` and `unit`, or `largest`, `allowed` and `equal`, or the reason why it is `skipped`.

A value that has a target stands beside `at_least` or `at_most`, and whether that is `reached`.
"""
Works = Iterator[tuple[str, Callable[[], Iterator[Row]]]]
"""The pieces of a part, each with a name; one may fail without the others."""
CPU = Compute(torch.device("cpu"), torch.float32)
UNSAID = ("value", "unit", "equal", "name", "device")  # that a row begins with, or that all rows share


@dataclass
class Session:
    """The device, the options, and the ceilings (TFLOP/s by precision) as soon as they are measured."""

    compute: Compute
    quick: bool
    batch: int
    minutes: float
    seconds_in_all: float
    archive: Path | None
    out: Path
    ceilings: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        """The card, or the CPU in a quick look."""
        return self.compute.device

    @property
    def exact(self) -> Compute:
        """The same device in float32."""
        return Compute(self.device, torch.float32)

    @property
    def on_cuda(self) -> bool:
        """Whether there is a card."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds until nothing may begin any more."""
        return self.started + self.seconds_in_all - time.monotonic()

    @property
    def least_seconds(self) -> float:
        """How long a measurement lasts at least."""
        return 0.0 if self.quick else 0.5

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.on_cuda:
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Give memory that nothing uses back to the card, and count the largest from here."""
        if self.on_cuda:
            with suppress(RuntimeError):  # of a card that answers no more, which what comes next will tell
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> float | None:
        """The largest memory of the card, in GB (10^9 bytes), since `release`."""
        return torch.cuda.max_memory_allocated(self.device) / 1e9 if self.on_cuda else None

    def reserved(self) -> float | None:
        """The largest that PyTorch held of it since then, in GB, with what a graph keeps for itself."""
        return torch.cuda.max_memory_reserved(self.device) / 1e9 if self.on_cuda else None

    def seconds(self, work: Work) -> float:
        """How long `work` takes, over so many runs that they last `least_seconds`, after two that do not count."""
        work(), work()
        runs, spent = 1, self.seconds_of(work, 1)
        while spent < self.least_seconds:
            runs = int(min(10 * runs, 1 + 1.2 * runs * self.least_seconds / max(spent, 1e-9)))
            spent = self.seconds_of(work, runs)
        return spent / runs

    def seconds_of(self, work: Work, runs: int) -> float:
        """How long so many runs take together."""
        self.synchronize()
        started = time.perf_counter()
        for _ in range(runs):
            work()
        self.synchronize()
        return time.perf_counter() - started


@contextmanager
def enough(advice: str) -> Iterator[None]:
    """In the block, a device without memory left is told with this advice, also where the library gives its own."""
    try:
        with enough_memory(advice):
            yield
    except UserError as error:
        if not str(error).startswith("out of memory"):
            raise
        raise UserError(f"out of memory: {advice}") from None


def measured(
    name: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None, **more: object
) -> Row:
    """A row of one number, and of its target where it has one."""
    row = {"name": name, "value": value, "unit": unit}
    if at_least is not None:
        row |= {"at_least": at_least, "reached": value >= at_least}
    if at_most is not None:
        row |= {"at_most": at_most, "reached": value <= at_most}
    return row | more


def compared(name: str, largest: float, *, allowed: float, **more: object) -> Row:
    """A row of a comparison: the largest difference, and how large it may be; one that is no number is not equal."""
    return {"name": name, "largest": largest, "allowed": allowed, "equal": largest <= allowed, **more}


def apart(ours: list[float], theirs: list[float]) -> float:
    """The largest difference between losses, as a share of theirs; NaN where any of them is."""
    one, other = (torch.tensor(losses, dtype=torch.float64) for losses in (ours, theirs))
    return float(((one - other) / other).abs().max())


def skipped(name: str, reason: object) -> Row:
    """A row that says why there is no number."""
    return {"name": name, "skipped": one_line(reason)}


def optional(name: str, work: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows of what the library does without; where it fails, one row says why, and nothing else is lost."""
    try:
        yield from work()
    except Exception as error:  # a compiler or a card that was never met may fail in any way
        known = isinstance(error, UserError | LackingError)
        yield skipped(name, error if known else f"{type(error).__name__}: {error}")


def line(row: Row) -> str:
    """A row as it is printed."""
    if "skipped" in row:
        return f"{row['name']}: skipped, {row['skipped']}"
    told = [f"{key} {shown(value)}" for key, value in row.items() if value is not None and key not in UNSAID]
    first = f"{shown(row['value'])} {row['unit']}" if "value" in row else "equal" if row["equal"] else "DIFFERENT"
    return f"{row['name']}: {'; '.join([first, *told])}"


def shown(value: object) -> str:
    """Three digits of a number; anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
