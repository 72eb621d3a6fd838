"""A polite end: SIGTERM leaves through the exceptions, as Ctrl-C does, so that what must be closed is closed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def leave(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit with the shell's status for a signal; a second signal must not interrupt the cleaning up."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """In the block, which runs in the main thread, SIGTERM raises SystemExit."""
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
