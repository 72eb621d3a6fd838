"""How much memory is taken at a time, and what the C library does with memory that is given back."""

import ctypes
import sys

# Numbers of <malloc.h>; glibc keeps no block above 32 MiB.
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT_BLOCK, MOST_KEPT_BYTES = 32 << 20, 1 << 30
MOST_BYTES_AT_ONCE = 128 << 20  # of pixels; 512 images of 256 x 256 have 101 MB


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
