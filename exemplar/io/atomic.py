"""Files and folders that are whole as soon as they are visible."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL_BYTES = 1 << 16  # with less than this free, a disk counts as full
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def begun(folder: Path) -> dict[Path, int]:
    """What `replacing` has begun in and below a folder, and the number of the process that did."""
    named = ((path, re.fullmatch(r"\..+\.(\d{1,9})\.tmp", path.name)) for path in folder.rglob(".*.tmp"))
    return {path: int(name[1]) for path, name in named if name}


def abandoned(folder: Path) -> list[Path]:
    """What was begun in and below a folder, and will not be finished: its process is gone."""
    return sorted(path for path, number in begun(folder).items() if not is_alive(number))


def is_alive(number: int) -> bool:
    """Whether there is a process of this number, be it another user's."""
    try:
        os.kill(number, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def flush_to_disk(path: Path) -> None:
    """Ask the system to write a file, or every file of a folder, to the disk itself."""
    for file in [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def put_beside(source: Path, target: Path) -> None:
    """Give a file a second name in place of what has it, or copy it where that one is on another disk."""
    remove(target)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def is_full(path: Path, error: Exception) -> bool:
    """Whether an error that does not say so itself comes from a full disk.

    NumPy's OSError on a full disk has no errno, and PyTorch and safetensors raise errors of other kinds.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return False
    return os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(path).free < FULL_BYTES


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it over `path` once the block has succeeded.

    The block writes a file or makes a folder there. When it fails, what it wrote is removed and `path` stays as it was.
    Raises OSError with ENOSPC and `path` where the disk is full, whatever the library that wrote raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(temporary)
    try:
        yield temporary
        flush_to_disk(temporary)
        if temporary.is_dir() or path.is_dir():
            remove(path)
        temporary.replace(path)
    except Exception as error:  # the block may use any library
        if is_full(path.parent, error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        remove(temporary)
