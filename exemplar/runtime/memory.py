"""What memory is free on a GPU, and what the C library does with memory that is given back."""

import ctypes
import sys

import torch

# Numbers of <malloc.h>; glibc keeps no block above 32 MiB.
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT_BLOCK, MOST_KEPT_BYTES = 32 << 20, 1 << 30


def keep_freed_memory() -> None:
    """Ask glibc to keep the memory of one step, or of one unit of work, for the next.

    It returns large blocks to the system. Getting them back took 10 to 18 % of a training step, and more than half of
    the time of two processes that cut seeds (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # not in other C libraries
        mallopt(MALLOPT_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        mallopt(MALLOPT_TRIM_THRESHOLD, MOST_KEPT_BYTES)


def free_on_cuda(device: torch.device) -> int:
    """The bytes of a GPU that nobody has taken yet, or that PyTorch keeps for the next tensors of this process."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept
