"""Units of work, each a function of what it is given: in processes of this machine, or on a cluster of Dask.

Where a unit runs, and how many run at a time, changes no result, so that nothing of this stands in params.yaml.
"""

import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from exemplar.errors import UserError
from exemplar.io.arrays import make_array, write_rows
from exemplar.io.atomic import flush_to_disk, remove, replacing
from exemplar.runtime.memory import keep_freed_memory
from exemplar.runtime.progress import track
from exemplar.runtime.workers import workers


class Unit(NamedTuple):
    """A range of the rows of a whole, and what they are made of."""

    rows: range
    of: Any


Work = Callable[[Unit], Any]


def ranges(count: int, size: int) -> list[range]:
    """`count` rows in ranges of `size`, the last of which may be shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


@contextmanager
def unfinished_in(place: Path) -> Iterator[Path]:
    """A folder for what is not yet whole: `place` where a caller that may be killed made it, else one for the block."""
    if place.is_dir():
        yield place.resolve()  # it may be a link, and a worker may have another working directory
    else:
        with TemporaryDirectory(dir=place.parent) as temporary:
            yield Path(temporary)


def run(
    work: Work, units: Sequence[Unit], *, things: str, label: str, kept: Path | None = None, file: Path | None = None
) -> list[Any]:
    """What `work` makes of each unit, in their order, whichever process does it; `things` and `label` are for progress.

    In the folder `kept`, of this work alone, the array of each unit stays from its end on, and is not made again after
    a kill; `file` is what the units write, which is brought to the disk before that. `work` must be known by its module
    and name, and with several processes it is copied to each.
    """
    noted = places(kept, units) if kept else []
    found = {number: note for number, place in enumerate(noted) if (note := read_note(place)) is not None}
    missing = [number for number in range(len(units)) if number not in found]
    done, total = sum(len(units[number].rows) for number in found), sum(len(each.rows) for each in units)
    with track(total=total, unit=things, label=label, done=done) as progress, workers(len(missing)) as spread:
        for index, result in spread(partial(on_one_thread, work), [units[number] for number in missing]):
            number = missing[index]
            if kept:
                if file:
                    flush_to_disk(file)
                with replacing(noted[number]) as temporary, temporary.open("wb") as opened:
                    np.save(opened, result)
            found[number] = result
            progress.advance(len(units[number].rows))
    return [found[number] for number in range(len(units))]


def places(kept: Path, units: Sequence[Unit]) -> list[Path]:
    """Where the arrays of units are kept, each by its number."""
    return [kept / f"{number:06}.npy" for number in range(len(units))]


def read_note(place: Path) -> np.ndarray | None:
    """What was kept of a unit; None where nothing is there that can be read, so that it is made again."""
    if place.is_symlink() or not place.is_file():
        return None
    with suppress(OSError, ValueError, EOFError, MemoryError):
        note: np.ndarray = np.load(place)
        return note
    return None


def fill(
    file: Path,
    work: Callable[[Unit], tuple[np.ndarray, np.ndarray]],
    units: Sequence[Unit],
    *,
    shape: tuple[int, ...],
    kind: type[np.generic],
    things: str,
    label: str,
) -> list[np.ndarray]:
    """Write an array file, whose rows `work` makes of the units, each with a note; the notes, in the units' order.

    After a kill only what is missing is made: notes are kept beside the file, whose rows may be moved once all are
    there. Raises OSError where the disk is full.
    """
    notes = file.with_suffix(".units")
    begun = file.exists() and not file.is_symlink()  # a link came with a copied repository, and may lead anywhere
    is_whole = begun and file.stat().st_size > np.dtype(kind).itemsize * math.prod(shape)
    is_moved = begun and not is_whole and all(read_note(place) is not None for place in places(notes, units))
    if not (is_whole or is_moved):
        remove(notes)
        remove(file)
        with replacing(file) as temporary:
            make_array(temporary, shape, kind)
    with NamedTemporaryFile(dir=file.parent, prefix=f".{file.stem}.", suffix=f".{os.getpid()}.tmp") as here:
        return run(
            partial(written, file, Path(here.name), work), units, things=things, label=label, kept=notes, file=file
        )


def written(file: Path, here: Path, work: Callable[[Unit], tuple[np.ndarray, np.ndarray]], unit: Unit) -> np.ndarray:
    """The note of a unit, whose rows are written.

    Raises UserError where the file `here`, which is there while the stage is, is not: rows would go into another file.
    """
    if not here.exists():
        raise UserError(
            f"{file.parent} on the machine {platform.node()} is not the folder where the stage was started; all "
            "machines need the repository at the same path on a disk that they share"
        )
    rows, note = work(unit)
    write_rows(file, unit.rows.start, rows)
    return note


def on_one_thread(work: Work, unit: Unit) -> Any:  # noqa: ANN401  # whatever work gives
    """What a unit gives, which must not depend on how many threads another machine has.

    The process keeps the memory that units give back, for good.
    """
    keep_freed_memory()
    torch = sys.modules.get("torch")  # what decodes pictures knows nothing of it
    if torch is None:
        return work(unit)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work(unit)
    finally:
        torch.set_num_threads(before)
