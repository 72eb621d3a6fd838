"""What is printed is lost where it cannot be written, and never ends the work: a full disk, a pipe or terminal gone."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


class Unfailing:
    """A text stream that drops what it cannot write; a character that its encoding lacks is written as an escape."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401  # whatever writes text
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text if that is possible."""
        with suppress(OSError, ValueError):  # a stream that was closed raises ValueError
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                self.stream.write(text.encode("ascii", "backslashreplace").decode())
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered if that is possible."""
        with suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the stream has
        """All else is the stream's."""
        return getattr(self.stream, name)


def make_unfailing(*names: str) -> None:
    """From now on, what this process prints there cannot end it; a stream that the shell has closed swallows all."""
    for name in names:
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # until the end
        setattr(sys, name, cast("TextIO", Unfailing(stream)))
