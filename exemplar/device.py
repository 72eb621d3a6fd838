"""Where the arithmetic happens: the device, and the precision that it gains from."""

import ctypes
import os
import re
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from exemplar.errors import UserError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
# Numbers of <malloc.h>; glibc keeps no block above 32 MiB.
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3
LARGEST_KEPT_BLOCK, MOST_KEPT_BYTES = 32 << 20, 1 << 30


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the products on it; weights and sums stay in float32."""

    device: torch.device
    precision: torch.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """The block's convolutions and matrix products run in `precision`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16)


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there (measured on a CPU with avx512_bf16: 2.0 times, docs/log.md)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose(*, device: str, precision: str) -> Compute:
    """Turn the settings `compute.device` and `compute.precision` into what this machine has.

    Raises UserError for a device or a precision that is not there.
    """
    if device not in DEVICES or precision not in PRECISIONS:
        raise UserError(
            f"compute: {device!r}, {precision!r} is unknown; expected one of {DEVICES} and one of {PRECISIONS}"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("compute.device is 'cuda', but PyTorch sees no CUDA device here; use 'auto' or 'cpu'")
    chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16_units(chosen) else "float32"
    cap_threads()
    keep_freed_memory()
    return Compute(chosen, getattr(torch, precision))


def describe(compute: Compute) -> str:
    """A device, what it is called, its threads and its precision, for people."""
    on_cuda = compute.device.type == "cuda"
    name = torch.cuda.get_device_name(compute.device) if on_cuda else f"{torch.get_num_threads()} threads"
    return f"{compute.device.type} ({name}), {str(compute.precision).removeprefix('torch.')}"


def keep_freed_memory() -> None:
    """Ask glibc to keep the memory of one step for the next.

    It returns large blocks to the system, and getting them back took 10 to 18 % of a step (docs/log.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # not in other C libraries
        mallopt(MALLOPT_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        mallopt(MALLOPT_TRIM_THRESHOLD, MOST_KEPT_BYTES)


def cap_threads() -> None:
    """Share the cores among queue workers: EXEMPLAR_THREADS, where it is set, is this process's number of threads."""
    if threads := os.environ.get("EXEMPLAR_THREADS"):
        if not re.fullmatch("[1-9][0-9]{0,3}", threads):
            raise UserError(f"EXEMPLAR_THREADS is {threads!r}; expected a number of threads from 1 to 9999")
        torch.set_num_threads(int(threads))
