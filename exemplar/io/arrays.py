"""Arrays on the disk, opened only if they are what a stage has written: their kind, their shape, every byte of them.

What the numbers are worth is for the readers to say. NumPy alone would take an array of another kind or shape, and one
with bytes too many; of a broken header it says anything from a warning to a request for exabytes.
"""

import ctypes
import hashlib
import io
import math
import mmap
import os
import platform
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, SupportsIndex

import numpy as np

from exemplar.errors import UserError, reason
from exemplar.io.atomic import flush_to_disk, replacing

Shape = tuple[int | None, ...]  # None is a length that the file may choose
ALIGNMENT_BYTES = 64  # of PyTorch's own memory
C_LIBRARY = ctypes.CDLL(None)
PIECES, PIECE_BYTES = 64, 4096  # of a file that tell it from others


class Layout(NamedTuple):
    """Where the numbers begin in a file, and how they lie there."""

    offset: int
    shape: tuple[int, ...]
    order: Literal["C", "F"]


def layout(file: io.BufferedIOBase, *, size_bytes: int, kind: type[np.generic], shape: Shape) -> Layout:
    """Read the header of a .npy file; raises ValueError for another kind, shape or length than it should have."""
    try:
        with warnings.catch_warnings(action="error"):
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version")
            found, by_columns, found_kind = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # its parser of Python's literals can fail in any way
        raise ValueError("its header is broken" if size_bytes else "it is empty") from error
    fits = len(found) == len(shape) and all(
        have >= 1 and need in (None, have) for have, need in zip(found, shape, strict=True)
    )
    if found_kind != np.dtype(kind) or not fits:
        raise ValueError(f"it holds {found_kind} {list(found)}; expected {np.dtype(kind)} {named(shape)}")
    needed = file.tell() + found_kind.itemsize * int(np.prod([int(side) for side in found], dtype=object))
    if needed != size_bytes:
        raise ValueError(f"it has {size_bytes:,} bytes; its header promises {needed:,}")
    return Layout(file.tell(), found, "F" if by_columns else "C")


def named(shape: Shape) -> str:
    """`[n 3 h w]` for a shape whose free lengths have no number: what a message says."""
    letters = iter("nhwabc")
    return f"[{' '.join(next(letters) if side is None else str(side) for side in shape)}]"


class Mapped(np.memmap):
    """A mapped array, which other processes get as the path of its file and map for themselves."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:  # noqa: ANN401  # what pickle asks for
        """The file where this is all of it; a part of it is copied."""
        if not isinstance(self.base, mmap.mmap):
            return np.asarray(self).__reduce_ex__(protocol)
        path = Path(str(self.filename))
        return map_again, (path, self.dtype.type, self.shape, digest_of_pieces(path))


class Refused:
    """In place of an array that cannot be had: whoever reads from it gets the error."""

    def __init__(self, error: UserError) -> None:
        self.error = error

    def __getitem__(self, _: object) -> NoReturn:
        raise self.error


def map_again(path: Path, kind: type[np.generic], shape: Shape, digest: str) -> Mapped | Refused:
    """Map what another process has mapped, perhaps on another machine, where the same file must be.

    Where it is not, that is told once the array is read: an error on arrival would end a worker of Dask without a word.
    """
    remedy = f"the machine {platform.node()} needs the same file there as the one where the stage was started"
    try:
        mapped = map_array(path, kind=kind, shape=shape, remedy=remedy)
        if digest_of_pieces(path) != digest:
            raise UserError(f"{path} holds other numbers; {remedy}")
    except UserError as error:
        return Refused(error)
    return mapped


def digest_of_pieces(path: Path) -> str:
    """The md5 of pieces of a file at equal distances, in which two sets of images differ."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for start in np.linspace(0, max(0, path.stat().st_size - PIECE_BYTES), PIECES, dtype=np.int64).tolist():
            file.seek(start)
            digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()


def map_array(path: Path, *, kind: type[np.generic], shape: Shape, remedy: str) -> Mapped:
    """Map an array into memory; raises UserError with the remedy for a file that is not what is expected.

    It can be read only: a system does not map more that can be written than it has memory.
    """
    try:
        with path.open("rb") as file:
            found = layout(file, size_bytes=path.stat().st_size, kind=kind, shape=shape)
        return Mapped(path, kind, "r", found.offset, found.shape, found.order)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({reason(error)}); {remedy}") from None


def make_array(file: Path, shape: tuple[int, ...], kind: type[np.generic]) -> None:
    """Make an array file of zeros; raises OSError where the disk has no room for it."""
    np.lib.format.open_memmap(file, "w+", kind, shape)
    with file.open("r+b") as opened:
        reserve(opened.fileno(), file.stat().st_size)


def reserve(file: int, size_bytes: int) -> None:
    """Let a file have so many bytes of the disk: one that is full says so now, and not by a signal later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size_bytes)
    else:  # macOS
        os.truncate(file, size_bytes)


def scratch_array(folder: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
    """An array of zeros that can be written and lies in a file of a folder; raises OSError where there is no room.

    The file has no name, so that the system gives its room back when this process ends, however it ends. The
    system is told that rows are used at random: else it keeps the file in pages of up to 2 MB, and writes a whole page
    when one row in it changes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        reserve(file.fileno(), np.dtype(kind).itemsize * math.prod(shape))
        array = np.memmap(file, kind, "r+", shape=shape)
    array.base.madvise(mmap.MADV_RANDOM)  # type: ignore[union-attr]  # the map itself
    return array


def write_rows(path: Path, first: int, rows: np.ndarray) -> None:
    """Write rows into an array file that `make_array` has made, from row number `first` on."""
    with path.open("r+b") as file:
        found = layout(file, size_bytes=path.stat().st_size, kind=rows.dtype.type, shape=(None, *rows.shape[1:]))
        file.seek(found.offset + first * rows[:1].nbytes)
        file.write(np.ascontiguousarray(rows).data)


def move_rows(source: Path, target: Path, which: np.ndarray, *, at_once: int) -> None:
    """Move the rows of an array file that `which` says into another one, the last first, so many at a time.

    The room of what was moved is given back at once. After a kill the same call goes on.
    """
    with source.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        start, size_bytes = file.tell(), kind.itemsize * math.prod(shape[1:])
        if not target.exists():
            with replacing(target) as temporary:  # it takes room as it is written
                np.lib.format.open_memmap(temporary, "w+", kind, (int(which.sum()), *shape[1:]))
        for first in reversed(range(0, len(which), at_once)):
            file.seek(start + first * size_bytes)
            if content := file.read(at_once * size_bytes):  # else they were moved before a kill
                rows = np.frombuffer(content, kind).reshape(-1, *shape[1:])
                write_rows(target, int(which[:first].sum()), rows[which[first : first + at_once]])
                flush_to_disk(target)
                file.truncate(start + first * size_bytes)


def forget_pages(numbers: np.ndarray) -> None:
    """Let the pages of a mapped file that were read or written no longer count as memory of this process."""
    if isinstance(numbers.base, mmap.mmap):
        numbers.base.madvise(mmap.MADV_DONTNEED)


def prefetch(numbers: np.ndarray, rows: Iterable[int]) -> None:
    """Let the system read rows of a mapped file from the disk all at once, and nothing around them.

    A row that is used without that is waited for, while megabytes around it are read (docs/log.md).
    """
    start, size = numbers.ctypes.data, numbers[:1].nbytes
    for row in rows:
        first = (start + row * size) // mmap.PAGESIZE * mmap.PAGESIZE
        length = start + (row + 1) * size - first
        C_LIBRARY.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_WILLNEED)


def load_array(path: Path, *, kind: type[np.generic], shape: Shape, remedy: str) -> np.ndarray:
    """Read an array into aligned memory, with the same checks; floating-point numbers must be finite."""
    mapped = map_array(path, kind=kind, shape=shape, remedy=remedy)
    numbers = aligned_empty(mapped.shape, kind)
    numbers[...] = mapped
    if not np.isfinite(numbers).all():
        raise UserError(f"cannot read {path} (it holds numbers that are not finite); {remedy}")
    return numbers


def aligned_empty(shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
    """An array whose memory begins at a multiple of 64 bytes, as PyTorch's does; NumPy's begins at any multiple of 16.

    Matrix products may round differently where it begins elsewhere, and so from run to run (Intel's notes on
    reproducibility; seen with MKL: one row times a matrix, 64 x 32, on an AMD EPYC).
    """
    size_bytes = np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
    memory = np.empty(size_bytes + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + size_bytes].view(kind).reshape(shape)


def from_bytes(content: bytes, *, kind: type[np.generic], shape: Shape) -> np.ndarray:
    """The array in the bytes of a .npy file; raises ValueError for one that is not what it should be."""
    found = layout(io.BytesIO(content), size_bytes=len(content), kind=kind, shape=shape)
    numbers = np.frombuffer(content, kind, offset=found.offset).reshape(found.shape, order=found.order)
    if not np.isfinite(numbers).all():
        raise ValueError("it holds numbers that are not finite")
    return numbers.copy()
