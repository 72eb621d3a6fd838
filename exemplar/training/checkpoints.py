"""The last two states of a long work on the disk: when the next is due, and which of them can be read."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from exemplar.errors import UserError, reason, say
from exemplar.io.atomic import replacing
from exemplar.runtime.device import Compute
from exemplar.training import parts
from exemplar.training.rows import LazyRows

SECONDS_BETWEEN = 120.0  # inside an epoch
SHARE_OF_TIME = 0.02  # at most this share of the work is spent writing states, however slow the disk
UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError, UnpicklingError, BadZipFile)


class Checkpoint:
    """A file, `path`, that holds the newest state; the one before it lies beside it as `earlier.pt`.

    Process 0 writes both. The rows of a large head lie beside them, in files that each process writes and both name.
    """

    def __init__(self, path: Path, compute: Compute) -> None:
        self.path, self.earlier, self.compute = path, path.with_name("earlier.pt"), compute
        self.written, self.cost_seconds = time.monotonic(), 0.0
        self.told = False  # that the disk takes none

    def is_due(self) -> bool:
        """Whether so much time went by since the last state that writing another costs no more than its share."""
        return time.monotonic() - self.written >= self.cost_seconds / SHARE_OF_TIME

    def is_due_inside(self) -> bool:
        """The same in the middle of an epoch, where there is less reason to write."""
        return time.monotonic() - self.written >= SECONDS_BETWEEN and self.is_due()

    def save(self, content: Mapping[str, Any], tables: Sequence[LazyRows] = ()) -> None:
        """Write a state, whole as soon as it is visible, and keep the one before it. All processes call it.

        A full disk may have room again the next time: it is told once, and does not stop the work.
        """
        started = time.monotonic()
        try:
            named = parts.save(tables, self.path.parent, self.compute) if tables else []
            if self.compute.rank == 0:
                with replacing(self.path) as temporary:
                    with temporary.open("wb") as file:
                        torch.save({**content, "parts": named}, file)
                    if self.path.exists():
                        self.path.replace(self.earlier)
            self.told = False
        except (OSError, RuntimeError) as error:  # PyTorch's writer has its own kind
            if not self.told:
                say(f"warning: cannot write the checkpoint {self.path} ({reason(error)}); the work goes on without it")
            self.told = True
        if tables and self.compute.rank == 0:
            self.remove_parts()
        self.written = time.monotonic()
        self.cost_seconds = self.written - started

    def remove_parts(self) -> None:
        """Remove the files of rows that no state names, unless a state cannot be read."""
        with suppress(*UNREADABLE):
            states = [read_state(path) for path in (self.path, self.earlier) if path.exists()]
            parts.remove_unnamed(self.path.parent, [part for state in states for part in state["parts"]])

    def load(self, apply: Callable[[dict[str, Any]], None], tables: Sequence[LazyRows] = ()) -> Path | None:
        """Give the newest state that can be read to `apply`, and return its file; None where none was ever written.

        A state that is damaged, or that `apply` cannot use, is removed and told where the other one serves. Raises
        UserError where none does.
        """
        broken: dict[Path, str] = {}
        for path in filter(Path.exists, (self.path, self.earlier)):
            try:
                restore(path, apply, tables)
            except UNREADABLE as error:
                broken[path] = f"cannot read the checkpoint {path} ({type(error).__name__})"
            else:
                for other, told in broken.items():
                    say(f"{told}; going on from the one before it")
                    other.unlink()
                if tables:
                    self.remove_parts()
                return path
        if broken:
            raise UserError(f"{'; '.join(broken.values())}; remove {self.path.parent} to train from the start")
        return None


def restore(path: Path, apply: Callable[[dict[str, Any]], None], tables: Sequence[LazyRows] = ()) -> None:
    """Give a state to `apply`, and to tables the rows that it names; raises one of UNREADABLE."""
    content = load_state(path)
    apply(content)
    parts.load(tables, path.parent, content["parts"])


def load_state(path: Path) -> dict[str, Any]:
    """A state's content, whose tensors are mapped from the file: a large one need not fit into memory.

    PyTorch does not compare checksums: of 600 files with one flipped bit it read 558 wrong.
    """
    with ZipFile(path) as archive:
        if any(info.compress_type for info in archive.infolist()):  # PyTorch packs none, so that none can be a bomb
            raise BadZipFile("it is packed")
        if broken := archive.testzip():
            raise BadZipFile(broken)
    return read_state(path)


def read_state(path: Path) -> dict[str, Any]:
    """The same without a look at its checksums."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return content
