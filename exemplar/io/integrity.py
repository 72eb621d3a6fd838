"""Whether the inputs of a stage are still what DVC recorded when they were made, byte by byte.

An array with a changed byte is a valid array, so only a digest shows the change. DVC compares digests before it runs
a stage, but hashes a file again only when its size or time has changed; a failing disk changes neither.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from exemplar.errors import UserError
from exemplar.io import provenance
from exemplar.io.sources import digest

MOST_BYTES = 256 << 20  # of one output, 0.4 s; `make doctor` compares larger ones


def require_intact(paths: Iterable[Path]) -> None:
    """Raise UserError for an output among `paths`, in or above them, that is not what dvc.lock says.

    A stage that was started by hand compares nothing, because dvc.lock may then describe other files.
    """
    inputs = [Path(os.path.relpath(path)) for path in paths]
    for name, recorded in provenance.outputs().items() if provenance.is_run_by_dvc() else ():
        output = Path(name)
        is_input = any(output.is_relative_to(path) or path.is_relative_to(output) for path in inputs)
        if is_input and output.exists() and size(output) <= MOST_BYTES and (md5 := dvc_md5(output)) != recorded:
            raise UserError(
                f"{name} has changed since DVC recorded it (its md5 is {md5}, dvc.lock says {recorded}); "
                f"remove {name} and run dvc repro again, and see what make doctor says of the disk"
            )


def files(path: Path) -> list[Path]:
    """The file itself, or all files of a folder."""
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def size(path: Path) -> int:
    """How many bytes a file or a folder has."""
    return sum(file.stat().st_size for file in files(path))


def dvc_md5(path: Path) -> str:
    """The md5 that DVC records: of a file its own, of a folder that of the list of its files, with `.dir`."""
    if path.is_file():
        return digest(path)
    entries = [{"md5": digest(file), "relpath": file.relative_to(path).as_posix()} for file in files(path)]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def require_space(folder: Path, *, needed_bytes: int) -> None:
    """Raise UserError where the disk of `folder` has less than `needed_bytes` free."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise UserError(
            f"no space in {folder}: {needed_bytes / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free; "
            "free some and run again"
        )
