"""Who does units of work: processes of this machine, or the workers of a cluster of Dask."""

import hashlib
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread
from typing import Any

from exemplar.errors import UserError, reason, say
from exemplar.runtime import machine

SCHEDULER = "EXEMPLAR_SCHEDULER"  # the environment variable that names one of Dask
SECONDS_FOR_AN_ANSWER = 30
LONGEST_FOLDER_OF_SOCKETS = 70  # bytes, of the 107 that Linux takes; Python's own names in it take 32
PACKAGE = Path(__file__).parents[1]
Work = Callable[[Any], Any]
Spread = Callable[[Work, Sequence[Any]], Iterable[tuple[int, Any]]]


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
    executor = ProcessPoolExecutor(processes, start_method(), initializer=end_with_stage)
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


def start_method() -> BaseContext:
    """How worker processes start: on Linux as forks of one process that loads PyTorch once and computes nothing.

    That one keeps the environment that it was started in, and ends with this process. A fork of a process in which
    threads have computed may hang in PyTorch, and one that has loaded macOS's frameworks may crash: there, and where
    the name of the temporary folder is too long for that of a socket in it, each worker loads PyTorch by itself.
    """
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER_OF_SOCKETS:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    if "torch" in sys.modules:
        context.set_forkserver_preload(["torch"])
    return context


def as_they_end(executor: Executor, work: Work, units: Sequence[Any]) -> Iterator[tuple[int, Any]]:
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
        gone = UserError(f"the scheduler at {address} went away; once it is back, the same command goes on")
        try:
            if not client.nthreads():
                say(f"the scheduler at {address} has no workers yet; the work begins when one comes")
                client.wait_for_workers(1)
            found = client.get_versions(packages=["exemplar"])
        except (OSError, CancelledError):
            raise gone from None
        require_version(found["client"], found["workers"])
        executor, digest = client.get_executor(pure=False), digest_of_code()
        try:
            yield lambda work, units: as_they_end(executor, partial(on_same_code, digest, work), units)
        except KilledWorker:
            raise UserError("several workers of the cluster died at the same unit; look at their logs") from None
        except CancelledError:
            raise gone from None


def require_version(mine: Mapping[str, Any], workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError for a worker of Dask on which this package is not installed, or another version of it is."""
    wanted = mine["packages"]["exemplar"]
    for address, found in workers.items():
        if (version := found["packages"]["exemplar"]) != wanted:
            there = f"exemplar {version} is" if version else "exemplar is not"
            raise UserError(
                f"{there} installed where the worker {address} runs, and {wanted} where the stage does; start the "
                "workers in the environment of the stage"
            )


def on_same_code(digest: str, work: Work, unit: Any) -> Any:  # noqa: ANN401  # whatever work takes and gives
    """What a unit gives on a worker; raises UserError where its code is not that of the stage."""
    if digest_of_code() != digest:
        raise UserError(
            f"{PACKAGE} on the machine {platform.node()} has other code than where the stage was started; start the "
            "workers in the environment of the stage, and again after a change"
        )
    return work(unit)


@cache
def digest_of_code() -> str:
    """The md5 of the files of this package."""
    digest = hashlib.md5(usedforsecurity=False)
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()
