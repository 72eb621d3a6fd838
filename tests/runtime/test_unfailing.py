"""What is printed may be lost, and never ends the work."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
PROGRAM = """
import sys, warnings
from pathlib import Path
from stages import cli

def command(file: Path) -> None:
    from exemplar.runtime.progress import track
    for number in range(2000):
        print(f"line {number} · of a table")
        print(f"warning {number}", file=sys.stderr, flush=True)
    warnings.warn("a library's")
    with track(total=2, unit="samples", label="train") as progress:
        progress.advance(2)
    file.write_text("done")

cli.start(command)
"""


def broken_pipe() -> int:
    """A pipe whose reader has gone, as that of `| head`."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


STREAMS: dict[str, Callable[[], Any]] = {
    "a full disk": lambda: os.open("/dev/full", os.O_WRONLY),
    "a reader that has gone": broken_pipe,
    "a folder that is read-only": lambda: os.open("/dev/null", os.O_RDONLY),
    "a terminal without umlauts": lambda: os.open("/dev/null", os.O_WRONLY),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_that_takes_nothing_does_not_end_the_work(stream: str, tmp_path: Path) -> None:
    """Neither lines, nor warnings, nor progress; the status is that of the work."""
    writer = STREAMS[stream]()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "done")]
    ended = subprocess.run(command, stdout=writer, stderr=writer, env=environment, check=False)
    os.close(writer)
    assert ended.returncode == 0
    assert (tmp_path / "done").read_text() == "done"


def test_streams_that_the_shell_has_closed_do_not_end_the_work(tmp_path: Path) -> None:
    """As `>&- 2>&-` does."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    line = '"$0" -c "$1" "$2" >&- 2>&-'
    ended = subprocess.run(["sh", "-c", line, sys.executable, PROGRAM, tmp_path / "done"], env=environment, check=False)
    assert ended.returncode == 0
    assert (tmp_path / "done").read_text() == "done"
