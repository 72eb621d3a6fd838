"""What the tracking store did not take: kept on disk in the user's repository until it does."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from exemplar import provenance

Operation = Mapping[str, Any]  # what JSON can say; under "path" a file or folder that goes with it


def place() -> Path:
    """The folder of all spools, also for a queued run, whose clone DVC deletes."""
    return provenance.user_repository() / ".spool"


class Spool:
    """The operations of one run, a line each, and copies of their files; `store` names where they belong.

    The lock is held from the first line until all is sent, or until the process is gone.
    """

    def __init__(self, run_id: str, *, store: str) -> None:
        self.run_id, self.store, self.folder = run_id, store, place() / run_id
        self.lines, self.lock = self.folder / "operations.jsonl", FileLock(place() / f"{run_id}.lock")

    @property
    def waits(self) -> bool:
        """Whether something is kept here."""
        return self.lines.exists()

    def keep(self, operation: Operation) -> None:
        """Append an operation, with a copy of its file, and return when both are on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.lock.is_locked:
            self.lock.acquire()
        lines = [{**operation, **self.copied(operation)}]
        if not self.waits:
            lines.insert(0, {"store": self.store})
        with self.lines.open("a", encoding="utf-8") as opened:
            # The end of line comes first: after a power cut the last line may have none.
            opened.writelines("\n" + json.dumps(line) for line in lines)
            opened.flush()
            os.fsync(opened.fileno())

    def copied(self, operation: Operation) -> dict[str, str]:
        """The place of the copy of the operation's file, which keeps its name."""
        if "path" not in operation:
            return {}
        source = Path(operation["path"])
        copy = self.folder / str(len(list(self.folder.iterdir()))) / source.name
        copy.parent.mkdir()
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
        return {"path": str(copy.relative_to(self.folder))}

    def operations(self) -> list[dict[str, Any]]:
        """All that waits, in order."""
        kept = [line for line in read(self.lines) if "kind" in line] if self.waits else []
        return [each | ({"path": str(self.folder / each["path"])} if "path" in each else {}) for each in kept]

    def clear(self) -> None:
        """Forget what was sent, the lines first: a file without its line does no harm, a line without its file does."""
        self.lines.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        Path(self.lock.lock_file).unlink(missing_ok=True)
        self.lock.release()


def read(lines: Path) -> Iterator[dict[str, Any]]:
    """What the lines of a spool say; one that a power cut left unfinished says nothing."""
    for line in lines.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(ValueError):
            yield dict(json.loads(line))


def left() -> list[Spool]:
    """The spools in which something waits, the oldest first."""
    found = sorted(place().glob("*/operations.jsonl"), key=lambda file: file.stat().st_mtime)
    return [Spool(file.parent.name, store=next(read(file), {}).get("store", "")) for file in found]


def nobodys() -> Iterator[Spool]:
    """Each spool that no living process writes or sends, locked while the caller has it."""
    for spool in left():
        try:
            spool.lock.acquire(blocking=False)
        except Timeout:
            continue
        try:
            yield spool
        finally:
            spool.lock.release()
