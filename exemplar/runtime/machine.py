"""How processes share one machine: so many threads for each, and a GPU that no other process has taken."""

import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from exemplar.errors import UserError, say

WORKER = "queue-worker"  # the word in the command line of each worker that `dvc queue start` starts
SECONDS_BETWEEN_LOOKS = 1.0
HELD: dict[str, FileLock] = {}  # until this process ends, however it ends


def queue_workers() -> int:
    """How many workers of DVC's queues run on this machine, busy or not."""
    return sum(WORKER in (process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


def fair_threads() -> int:
    """The cores of this process, divided among the queue's workers and the processes of one training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (max(1, queue_workers()) * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def threads() -> int:
    """As many as EXEMPLAR_THREADS says, or else this process's share of the cores."""
    count = os.environ.get("EXEMPLAR_THREADS") or str(fair_threads())
    if not re.fullmatch("[1-9][0-9]{0,3}", count):
        raise UserError(f"EXEMPLAR_THREADS is {count!r}; expected a number of threads from 1 to 9999")
    return int(count)


def is_on(switch: str, *, default: bool, to: str) -> bool:
    """Whether an environment variable is 1, or not set and on by `default`; UserError for anything but 1 and 0."""
    asked = os.environ.get(switch) or str(int(default))
    if asked not in ("0", "1"):
        raise UserError(f"{switch} is {asked!r}; expected 1, to {to}, or 0")
    return asked == "1"


def lock_folder() -> Path:
    """Where a user's processes, of whatever repository, lock GPUs; a user of a container may have no name."""
    folder = Path(tempfile.gettempdir(), f"exemplar-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def take(names: Sequence[str], *, most: int, folder: Path) -> list[int]:
    """Lock up to `most` of the named devices that are free, and return their indices; wait while all are taken.

    A process keeps what it has taken until it ends, and gets the same again.
    """
    said = False
    while not (taken := [index for index, name in enumerate(names) if name in HELD] or try_lock(names, most, folder)):
        if not said:
            say(f"all {len(names)} GPUs are taken by other processes; waiting for one")
        said = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return taken[:most]


def try_lock(names: Sequence[str], most: int, folder: Path) -> list[int]:
    """Lock up to `most` of the named devices that no other process holds; there may be none."""
    taken: list[int] = []
    for index, name in enumerate(names):
        lock = FileLock(folder / f"{name}.lock")
        try:
            if len(taken) < most:
                lock.acquire(blocking=False)
                HELD[name] = lock
                taken.append(index)
        except Timeout:
            continue
    return taken
