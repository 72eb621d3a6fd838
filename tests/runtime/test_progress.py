"""What a person sees of long work, on a terminal and in a log."""

import io
import sys
import time

import pytest

from exemplar.runtime import progress
from exemplar.runtime.progress import Progress, track


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_says_how_much_is_done_how_fast_and_how_long_it_will_take():
    """The rate is the mean since the beginning; the numbers of the moment stand in between."""
    shown = Progress(total=200, unit="samples", label="epoch 1/5", done=0)
    shown.show(loss=1.23456, accuracy=0.5)
    shown.advance(50)
    assert shown.line(10.0) == "epoch 1/5: 50/200 samples  loss 1.235  accuracy 0.5  5 samples/s  30 s left"


def test_what_an_earlier_process_did_makes_nothing_faster():
    """Work that is gone on with counts as done, and the rate is that of this process."""
    shown = Progress(total=200, unit="samples", label="train", done=100)
    shown.advance(50)
    assert shown.line(10.0) == "train: 150/200 samples  5 samples/s  10 s left"


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Fast work writes one line and not thousands; slow work shows every ten seconds that it lives."""
    with track(total=1000, unit="seeds", label="seeds") as shown:
        for _ in range(1000):
            shown.advance(1)
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    with track(total=3, unit="seeds", label="seeds") as shown:
        for _ in range(3):
            time.sleep(0.03)
            shown.advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" seeds ")[0] for line in lines] == ["seeds: 1/3", "seeds: 2/3", "seeds: 3/3"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch):
    """The bar shows label, share, numbers, and is closed with a line feed, also after an error."""
    monkeypatch.setattr(sys, "stderr", Terminal())

    def fail() -> None:
        with track(total=4, unit="samples", label="mean") as shown:
            shown.show(loss=0.5)
            shown.advance(1)
            shown.bar.refresh()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    written = sys.stderr.getvalue()
    assert "mean:  25%" in written
    assert "loss=0.5" in written
    assert written.endswith("\n")


def test_work_that_is_nothing_is_silent(capsys: pytest.CaptureFixture[str]):
    """Nothing to do is done at once."""
    with track(total=0, unit="samples", label="mean"):
        pass
    assert capsys.readouterr().err == ""
