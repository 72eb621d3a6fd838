"""Where a stage keeps what it needs to go on after a kill: outside its outputs, which DVC deletes before a run."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from filelock import FileLock, Timeout

from exemplar import provenance


def key(settings: Mapping[str, object], read: list[Path]) -> str:
    """The digest of parameters, inputs and code: whatever changes the result starts from the beginning."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(json.dumps(provenance.read_tags(read), sort_keys=True).encode())
    for file in sorted(Path(provenance.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


@contextmanager
def place(stage: str, *, settings: Mapping[str, object], read: list[Path]) -> Iterator[Path]:
    """A folder of the stage's own in the user's repository, also in a queued run; removed when the block succeeds.

    Two processes that would make the same thing wait for each other.
    """
    folder = provenance.user_repository() / ".checkpoints" / f"{stage}-{key(settings, read)}"
    locks = folder.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with waiting(FileLock(locks / folder.name), what=stage):
        folder.mkdir(exist_ok=True)
        yield folder
        rmtree(folder)


@contextmanager
def waiting(lock: FileLock, *, what: str) -> Iterator[None]:
    """Hold a lock; where another process holds it, say so and wait until it is free."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"{what}: another process is at the same work; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
