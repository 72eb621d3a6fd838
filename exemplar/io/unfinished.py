"""What a stage keeps of unfinished work, outside its outputs, which DVC deletes before it runs the stage."""

import hashlib
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from exemplar.errors import UserError
from exemplar.io import foreign, provenance, sources
from exemplar.io.atomic import begun, remove, replacing

ROOT = Path(__file__).parents[2]
DONE, LOCKS, DAY_SECONDS = "done", "locks", 86_400.0
LONGEST_PATH = 4096  # bytes


def stage_code(stage: str, *of: str) -> list[Path]:
    """The code that decides a stage's result: the files that dvc.yaml lists, `of` the values of the stage's matrix."""
    from ruamel.yaml import YAML

    description = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"][stage]
    chosen = {f"${{item.{name}}}": value for name, value in zip(description.get("matrix", {}), of, strict=True)}
    files = list[Path]()
    for listed in description["deps"]:
        for template, value in chosen.items():
            listed = listed.replace(template, value)
        path = ROOT / listed
        if path.suffix == ".py" or (
            path.suffix == ".txt" and path.is_file()
        ):  # it has digests of code (stages/check.py)
            files.append(path)
        elif listed.startswith("exemplar/"):
            files += sorted(path.rglob("*.py"))
    return files


def key(stage: str, *of: str, settings: Mapping[str, object], inputs: list[Path]) -> str:
    """The digest of settings, inputs and code: whatever changes the result starts from the beginning."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    tags = provenance.input_tags(inputs)
    # Outside of DVC a folder has no tag, and neither has a large file, so they are hashed here.
    untagged = [path for path in inputs if path.exists() and f"md5.{path.as_posix()}" not in tags]
    tags |= {path.as_posix(): sources.digest(path) for path in untagged}
    digest.update(json.dumps(tags, sort_keys=True).encode())
    for file in stage_code(stage, *of):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


@contextmanager
def work_folder(stage: str, *of: str, settings: Mapping[str, object], inputs: list[Path]) -> Iterator[Path]:
    """A folder of the stage's own in the user's repository, also in a queued run.

    When the block succeeds under DVC, the folder is kept until DVC has written dvc.lock. Killed before that, DVC
    removes the results and runs the stage again, which then ends at once and in the same MLflow run. Of two processes
    with the same work, one waits for the other. What a killed one was writing, which may be gigabytes, is removed.
    """
    name = "-".join((stage, *of))
    folder = (
        provenance.user_repository() / ".checkpoints" / f"{name}-{key(stage, *of, settings=settings, inputs=inputs)}"
    )
    locks = folder.parent / LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    with waiting(FileLock(locks / folder.name), what=name):
        forget_noted(folder.parent, own=folder)
        folder.mkdir(exist_ok=True)
        for half in () if folder.is_symlink() else begun(folder):  # nobody writes there who does not hold the lock
            remove(half)
        yield folder
        if provenance.is_run_by_dvc():
            with replacing(folder / DONE) as done:
                done.write_text(str(Path.cwd()), encoding="utf-8")
        else:
            remove(folder)


def forget_noted(folder: Path, *, own: Path) -> None:
    """Remove the folders of stages that dvc.lock already holds: it was written after they ended.

    The clone of a queued run is removed when the run ends; the folders of its stages are kept for a day. This process
    holds the lock of `own`; what another one is at stays, and so does what no stage has written.
    """
    for done in filter(Path.is_file, folder.glob(f"*/{DONE}")):
        with suppress(OSError, ValueError):  # another process is at that work, or has just removed the folder
            noted = foreign.read(done, most_bytes=LONGEST_PATH).decode(errors="replace")
            lock = Path(noted) / "dvc.lock"
            ended = done.stat().st_mtime
            is_noted = lock.exists() and lock.stat().st_mtime >= ended
            is_old = not lock.parent.exists() and time.time() - ended > DAY_SECONDS
            if is_noted or is_old:
                with nullcontext() if done.parent == own else FileLock(folder / LOCKS / done.parent.name, timeout=0):
                    remove(done.parent)


def interrupted(root: Path) -> list[Path]:
    """The folders of works that a state was kept of, that did not end, and that no process is at."""
    folders = sorted({path.parent for path in root.glob("*/*")} - {root / LOCKS})
    return [folder for folder in folders if not (folder / DONE).exists() and is_free(root / LOCKS / folder.name)]


def is_free(path: Path) -> bool:
    """Whether no process holds the lock in a file, which need not be there."""
    try:
        with FileLock(path, timeout=0) if path.exists() else nullcontext():
            return True
    except Timeout:
        return False


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


def cached_result(folder: Path | None, name: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever JSON can hold
    """What `make` returns, made now or kept in `folder` under this name by an earlier run; arrays come back as lists.

    Without a folder nothing is kept. Raises UserError for a file that is not as it was written.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.json"
    if not path.exists():
        content = json.dumps(make(), default=np.ndarray.tolist).encode()
        with replacing(path) as temporary:
            temporary.write_bytes(b"%08x\n%s" % (zlib.crc32(content), content))
    try:
        checksum, _, content = foreign.read(path).partition(b"\n")
        if checksum != b"%08x" % zlib.crc32(content):
            raise ValueError("its checksum differs")
        return json.loads(content)
    except ValueError as error:
        raise UserError(f"cannot read {path}: {error}; remove {path.parent} to do its work again") from None
