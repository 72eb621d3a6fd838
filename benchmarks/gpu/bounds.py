"""How the measurements end in time: work that lasts too long is interrupted, and a process that hangs is ended."""

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Overdue(BaseException):  # what handles a failure must not handle this
    """The time is over."""


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Raise Overdue in the block when it lasts longer, as soon as Python's code goes on."""

    def interrupt(*_: object) -> None:
        raise Overdue

    handler = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """End this process when the block lasts longer, even where a device never answers, and print where it hung."""
    faulthandler.dump_traceback_later(max(seconds, 1e-3), exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
