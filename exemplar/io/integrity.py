"""Whether what a stage reads is what DVC recorded when it was made: one changed byte anywhere is told.

A changed byte inside an array gives another valid array, which only a digest tells. DVC compares digests before it
runs a stage, but it believes sizes and times; a disk that forgets a bit changes neither.
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

    Only DVC keeps its lock file and the folder in step, so that a stage that was started by hand compares nothing.
    """
    read = [Path(os.path.relpath(path)) for path in paths]
    for place, md5 in provenance.outputs().items() if provenance.is_run_by_dvc() else ():
        made = Path(place)
        concerned = any(made.is_relative_to(path) or path.is_relative_to(made) for path in read)
        if concerned and made.exists() and size(made) <= MOST_BYTES and (found := recorded(made)) != md5:
            raise UserError(
                f"{place} has changed since DVC recorded it (its md5 is {found}, dvc.lock says {md5}); "
                f"remove {place} and run dvc repro again, and see what make doctor says of the disk"
            )


def files(path: Path) -> list[Path]:
    """The file itself, or all files of a folder."""
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def size(path: Path) -> int:
    """How many bytes a file or a folder has."""
    return sum(file.stat().st_size for file in files(path))


def recorded(path: Path) -> str:
    """What DVC writes down for a file, its md5, or for a folder, that of the list of its files, and `.dir`."""
    if path.is_file():
        return digest(path)
    listed = [{"md5": digest(file), "relpath": file.relative_to(path).as_posix()} for file in files(path)]
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def require_space(folder: Path, *, needed_bytes: int) -> None:
    """Raise UserError where the disk of `folder` has less than `needed_bytes` free."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise UserError(
            f"no space in {folder}: {needed_bytes / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free; "
            "free some and run again"
        )
