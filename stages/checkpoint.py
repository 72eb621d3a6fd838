"""Where a stage keeps what it needs to go on after a kill: outside its outputs, which DVC deletes before a run."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from exemplar import provenance, sources

if TYPE_CHECKING:
    from exemplar.tracking import Run

DONE, DAY_SECONDS = "done", 86_400.0


def key(settings: Mapping[str, object], read: list[Path]) -> str:
    """The digest of parameters, inputs and code: whatever changes the result starts from the beginning."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    tags = provenance.read_tags(read)
    # Outside of DVC nobody vouches for a folder, so its files are read.
    untagged = [path for path in read if path.is_dir() and f"md5.{path.as_posix()}" not in tags]
    tags |= {path.as_posix(): sources.digest(path) for path in untagged}
    digest.update(json.dumps(tags, sort_keys=True).encode())
    for file in sorted(Path(provenance.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


@contextmanager
def work(
    stage: str, *of: str, name: str, settings: Mapping[str, object], read: list[Path]
) -> Iterator[tuple["Run", Path]]:
    """A run in MLflow, shown as `name`, and a folder of the stage's own; where a kill left both, they go on."""
    from exemplar import tracking

    with (
        place("-".join((stage, *of)), settings=settings, read=read) as unfinished,
        tracking.run(stage=stage, name=name, parameters=settings, read=read, marker=unfinished / "run") as run,
    ):
        yield run, unfinished


@contextmanager
def place(stage: str, *, settings: Mapping[str, object], read: list[Path]) -> Iterator[Path]:
    """A folder of the stage's own in the user's repository, also in a queued run.

    When the block succeeds under DVC, the folder is kept until DVC has noted what the stage made: killed before that,
    DVC removes the results and runs the stage again, which then is at its end at once and in the same MLflow run. Two
    processes that would make the same thing wait for each other.
    """
    folder = provenance.user_repository() / ".checkpoints" / f"{stage}-{key(settings, read)}"
    locks = folder.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with waiting(FileLock(locks / folder.name), what=stage):
        forget_noted(folder.parent)
        folder.mkdir(exist_ok=True)
        yield folder
        if provenance.is_run_by_dvc():
            (folder / DONE).write_text(str(Path.cwd()), encoding="utf-8")
        else:
            rmtree(folder)


def forget_noted(folder: Path) -> None:
    """Remove what stages that were done have left: DVC has noted one when dvc.lock is younger than its end.

    What was done in the clone of a queued run, which is gone, stays for a day: it may not have been noted there.
    """
    for done in folder.glob(f"*/{DONE}"):
        lock, ended = Path(done.read_text(encoding="utf-8")) / "dvc.lock", done.stat().st_mtime
        is_noted = lock.exists() and lock.stat().st_mtime >= ended
        is_old = not lock.parent.exists() and time.time() - ended > DAY_SECONDS
        if is_noted or is_old:
            rmtree(done.parent, ignore_errors=True)


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
