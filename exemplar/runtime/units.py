"""Units of work, each a function of what it is given: in processes of this machine, or on a cluster of Dask.

Where a unit runs, and how many run at a time, changes no result, so that nothing of this stands in params.yaml.
"""

import multiprocessing
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from exemplar.errors import UserError, reason, say
from exemplar.io.arrays import make_array, write_rows
from exemplar.io.atomic import flush_to_disk, remove, replacing
from exemplar.runtime import machine
from exemplar.runtime.memory import keep_freed_memory
from exemplar.runtime.progress import track

SCHEDULER = "EXEMPLAR_SCHEDULER"  # the environment variable that names one of Dask
SECONDS_FOR_AN_ANSWER = 30


class Unit(NamedTuple):
    """A range of the rows of a whole, and what they are made of."""

    rows: range
    of: Any


Work = Callable[[Unit], Any]
Spread = Callable[[Work, Sequence[Unit]], Iterable[tuple[int, Any]]]


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
    places = [kept / f"{number:06}.npy" if kept else None for number in range(len(units))]
    found = {number: note for number, place in enumerate(places) if place and (note := read_note(place)) is not None}
    missing = [number for number in range(len(units)) if number not in found]
    done, total = sum(len(units[number].rows) for number in found), sum(len(each.rows) for each in units)
    with track(total=total, unit=things, label=label, done=done) as progress, workers(len(missing)) as spread:
        for index, result in spread(partial(on_one_thread, work), [units[number] for number in missing]):
            number = missing[index]
            if place := places[number]:
                if file:
                    flush_to_disk(file)
                with replacing(place) as temporary, temporary.open("wb") as opened:
                    np.save(opened, result)
            found[number] = result
            progress.advance(len(units[number].rows))
    return [found[number] for number in range(len(units))]


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

    After a kill only what is missing is made: notes are kept beside the file. Raises OSError where the disk is full.
    """
    notes = file.with_suffix(".units")
    if file.is_symlink() or not file.exists():  # a link came with a copied repository, and may lead to any file
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


@contextmanager
def workers(count: int) -> Iterator[Spread]:
    """Who does `count` units: Dask where it is named, as many processes as this one has threads, or this one itself."""
    processes = min(count, machine.threads())
    if count and (address := os.environ.get(SCHEDULER)):
        with cluster(address) as spread:
            yield spread
    elif processes > 1:
        with pool(processes) as spread:
            yield spread
    else:
        yield lambda work, units: enumerate(map(work, units))


@contextmanager
def pool(processes: int) -> Iterator[Spread]:
    """Processes of this machine, which end with this one however it ends."""
    others = multiprocessing.active_children()
    # A fork of a process in which threads have computed may hang in PyTorch; one that computes nothing loads it once,
    # and every worker of this process is a fork of that.
    context = multiprocessing.get_context("forkserver")
    if "torch" in sys.modules:
        context.set_forkserver_preload(["torch"])
    executor = ProcessPoolExecutor(processes, context, initializer=end_with_stage)
    try:
        yield partial(as_they_end, executor)
    except BaseException as error:
        for child in multiprocessing.active_children():
            if child not in others:
                child.kill()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a process of this stage was killed, perhaps because memory ran out; run it again, and set "
                f"EXEMPLAR_THREADS to less than {processes} if need be"
            ) from None
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def as_they_end(executor: Executor, work: Work, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
    """The number of each unit and what it gives, in the order in which they end.

    Where some fail, the error of the first of them in the units' order is raised once all before it have ended.
    """
    futures = [executor.submit(work, unit) for unit in units]
    numbers = {future: number for number, future in enumerate(futures)}
    ended, failed = 0, len(futures)  # how many have ended before the first that has not; the first that failed
    for future in as_completed(futures):
        if future.exception():
            failed = min(failed, numbers[future])
        else:
            yield numbers[future], future.result()
        while ended < len(futures) and futures[ended].done():
            ended += 1
        if ended > failed:
            futures[failed].result()


def end_with_stage() -> None:
    """Ctrl-C is the stage's to answer; a worker ends with it, also when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=wait_and_end, args=(multiprocessing.parent_process(),), daemon=True).start()


def wait_and_end(stage: multiprocessing.process.BaseProcess) -> None:
    """End this process when another one has ended, whatever this one is doing."""
    stage.join()
    os._exit(1)


@contextmanager
def cluster(address: str) -> Iterator[Spread]:
    """The workers of a scheduler of Dask, which gives the units of one that dies to the others."""
    try:
        from dask.distributed import Client, KilledWorker
    except ImportError:
        raise UserError(
            f"{SCHEDULER} is set, but the package distributed is not installed; pip install 'exemplar[cluster]'"
        ) from None
    try:
        client = Client(address, timeout=SECONDS_FOR_AN_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{SCHEDULER} is {address!r}, where no scheduler of Dask answers ({reason(error)}); expected tcp://HOST:PORT"
        ) from None
    with client:
        if not client.nthreads():
            say(f"the scheduler at {address} has no workers yet; the work begins when one comes")
        try:
            yield partial(as_they_end, client.get_executor(pure=False))
        except KilledWorker:
            raise UserError("several workers of the cluster died at the same unit; look at their logs") from None
        except CancelledError:
            raise UserError(
                f"the scheduler at {address} went away; once it is back, the same command goes on"
            ) from None
