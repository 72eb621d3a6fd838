"""A polite end: SIGTERM leaves through the exceptions, as Ctrl-C does, so that what must be closed is closed."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SECONDS_UNTIL_AGAIN = 0.01
ENDS = (SystemExit, KeyboardInterrupt)


def leave(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit with the shell's status for a signal; a second signal must not interrupt the cleaning up."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


@contextmanager
def raising_again() -> Iterator[None]:
    """Raise the end of the process once more where Python drops it: in a finalizer or a callback of the collector."""
    before, alarm = sys.unraisablehook, signal.getsignal(signal.SIGALRM)

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        end = dropped.exc_value
        if not isinstance(end, ENDS):
            before(dropped)
            return

        def rise(number: int, frame: FrameType | None) -> NoReturn:
            raise end

        signal.signal(signal.SIGALRM, rise)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_UNTIL_AGAIN)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        if signal.getsignal(signal.SIGALRM) is not alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """In the block, which runs in the main thread, SIGTERM raises SystemExit."""
    before = signal.signal(signal.SIGTERM, leave)
    try:
        with raising_again():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
