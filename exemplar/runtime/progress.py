"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts what is done of `total` and shows it with the numbers of the moment."""

    def __init__(self, *, total: int, unit: str, label: str, done: int) -> None:
        self.total, self.unit, self.label = total, unit, label
        self.done, self.before, self.numbers = done, done, dict[str, float]()
        self.started = self.said = time.monotonic()
        self.bar = tqdm(
            total=total, initial=done, unit=unit, desc=label, unit_scale=True, disable=not sys.stderr.isatty()
        )

    def show(self, **numbers: float) -> None:
        """Remember the numbers (loss, accuracy, ...) that are shown beside what is done."""
        self.numbers = numbers
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in numbers.items()}, refresh=False)

    def advance(self, count: int) -> None:
        """Add `count` to what is done."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and (now - self.said >= SECONDS_BETWEEN_LINES or self.done == self.total):
            self.said = now
            print(self.line(now - self.started), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """What a log shows: share done, numbers, rate and time left."""
        rate = (self.done - self.before) / max(seconds, 1e-9)
        shown = "".join(f"  {name} {value:.4g}" for name, value in self.numbers.items())
        left = (self.total - self.done) / max(rate, 1e-9)
        return f"{self.label}: {self.done}/{self.total} {self.unit}{shown}  {rate:.0f} {self.unit}/s  {left:.0f} s left"


@contextmanager
def track(*, total: int, unit: str, label: str, done: int = 0) -> Iterator[Progress]:
    """Show the progress of the block: `total` things of `unit`, under the name `label`, of which `done` were before."""
    progress = Progress(total=total, unit=unit, label=label, done=done)
    try:
        yield progress
    finally:
        progress.bar.close()
