"""The polite end."""

import gc
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from exemplar.runtime.signals import sigterm_raises


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A background job of a shell ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Finalized:
    """An object in whose finalizer a signal arrives."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize(("number", "end"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_in_a_finalizer_ends_the_work(number: signal.Signals, end: type[BaseException]) -> None:
    """Python drops what is raised there; it is raised once more, outside. Afterwards everything is as it was."""
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM), sys.unraisablehook

    @sigterm_raises()
    def work() -> None:
        Finalized(number)
        time.sleep(10)

    with pytest.raises(end):
        work()
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def test_a_signal_in_a_callback_of_the_garbage_collector_ends_the_work() -> None:
    """The same where it was seen."""

    def callback(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(callback)
        signal.raise_signal(signal.SIGTERM)

    @sigterm_raises()
    def work() -> None:
        gc.callbacks.append(callback)
        gc.collect()
        time.sleep(10)

    with pytest.raises(SystemExit) as met:
        work()
    assert met.value.code == 128 + signal.SIGTERM


def test_what_else_is_dropped_is_told_as_ever() -> None:
    """Only the end of the process is raised again."""
    told: list[BaseException | None] = []

    class Broken:
        def __del__(self) -> None:
            raise ValueError("dropped")

    before, sys.unraisablehook = sys.unraisablehook, lambda dropped: told.append(dropped.exc_value)
    try:
        with sigterm_raises():
            Broken()
    finally:
        sys.unraisablehook = before
    assert [str(error) for error in told] == ["dropped"]
