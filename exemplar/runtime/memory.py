"""How much memory there is, how much is taken at a time, and what the C library does with memory that is given back."""

import ctypes
import math
import sys
from contextlib import suppress
from pathlib import Path

# Numbers of <malloc.h>; glibc keeps no block above 32 MiB.
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT_BLOCK, MOST_KEPT_BYTES = 32 << 20, 1 << 30
MOST_BYTES_AT_ONCE = 128 << 20  # of pixels; 512 images of 256 x 256 have 101 MB
# The file of a cgroup's limit, and what counts of its memory.stat: of the files in memory those without a disk.
V1, V2 = ("memory.limit_in_bytes", ("total_rss", "total_shmem")), ("memory.max", ("anon", "shmem"))
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def at_once(most: int, *, bytes_each: int) -> int:
    """How many things are in memory at a time: `most`, or of larger ones as many as have room, at least one."""
    return max(1, min(most, MOST_BYTES_AT_ONCE // bytes_each))


def keep_freed_memory() -> None:
    """Ask glibc to keep the memory of one step, or of one unit of work, for the next.

    It returns large blocks to the system. Getting them back took 10 to 18 % of a training step, and more than half of
    the time of two processes that cut seeds (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # not in other C libraries
        mallopt(MALLOPT_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        mallopt(MALLOPT_TRIM_THRESHOLD, MOST_KEPT_BYTES)


def left_by_limits() -> float:
    """The bytes that the limits of this process's cgroups leave, of either version; infinite where there is none.

    A container and a job of a cluster have such limits. What the system keeps of files counts as free: it can drop it.
    """
    left = [math.inf]
    with suppress(OSError):
        for line in OWN_CGROUPS.read_text(encoding="utf-8").splitlines():
            _, kinds, own = line.split(":", 2)
            if kinds in ("", "memory"):
                limit, used = V1 if kinds else V2
                innermost = CGROUPS / kinds / own.lstrip("/")
                for folder in (innermost, *innermost.parents):
                    with suppress(OSError, ValueError, KeyError):  # no such limit, or "max"
                        numbers = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                        left.append(int((folder / limit).read_text()) - sum(int(numbers.get(each, 0)) for each in used))
    return float(max(0, min(left)))
