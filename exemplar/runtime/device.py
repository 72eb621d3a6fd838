"""Where the arithmetic happens: the device, and the precision of its products."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import psutil
import torch

from exemplar.errors import UserError, one_line, say
from exemplar.runtime import machine
from exemplar.runtime.cards import free_on_cuda, lack_of_kernels, usable_gpus
from exemplar.runtime.memory import keep_freed_memory, left_by_limits

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")
# What PyTorch and CUDA's libraries say when memory is out and the error is of no kind of its own. cuDNN finds no engine
# when none of its kernels gets the workspace that it asks for.
OUT_OF_MEMORY = re.compile(
    r"out of memory|_STATUS_ALLOC_FAILED|DefaultCPUAllocator|unable to find an engine to execute", re.IGNORECASE
)


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the products on it; weights and sums stay in float32.

    Of the `processes` that share a training (exemplar/runtime/collective.py) this is number `rank`, from 0.
    """

    device: torch.device
    precision: torch.dtype
    rank: int = 0
    processes: int = 1

    def autocast(self) -> AbstractContextManager[object]:
        """The block's convolutions and matrix products run in `precision`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16)

    def autocast_step(self) -> AbstractContextManager[object]:
        """The same for what the optimizer does in the block, but on a GPU only."""
        return self.autocast() if self.device.type == "cuda" else nullcontext()


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there (measured on a CPU with avx512_bf16: 2.0 times, docs/log.md)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def find(*, device: str, precision: str) -> Compute:
    """Turn the settings `compute.device` and `compute.precision` into what this machine has, and take nothing yet.

    Raises UserError for a device or a precision that is not there.
    """
    if precision == "auto":
        raise UserError(f"compute.precision 'auto' is no longer known; name one of {PRECISIONS} ({advice(device)})")
    if device not in DEVICES or precision not in PRECISIONS:
        raise UserError(
            f"compute: {device!r}, {precision!r} is unknown; expected one of {DEVICES} and one of {PRECISIONS}"
        )
    if device == "cuda" and (reason := lack_of_cuda()):
        raise UserError(f"compute.device is 'cuda', but {reason}; use 'auto' or 'cpu'")
    return Compute(wanted(device), getattr(torch, precision))


def lack_of_cuda() -> str | None:
    """Why PyTorch can use no GPU here: no driver, one that is too old, a build without CUDA or without its kernels."""
    if usable_gpus():
        return None
    said = lack_of_kernels() if torch.cuda.is_available() else lack_of_driver()
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"PyTorch {torch.__version__}, {built}, can use no GPU here ({said})"


def lack_of_driver() -> str:
    """What PyTorch says where it sees no GPU."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # no types
    except (RuntimeError, AssertionError) as error:
        return one_line(error).removesuffix(".")
    return "none is visible"


def wanted(device: str) -> torch.device:
    """The device that the setting leads to; `auto` is CUDA where there is one."""
    return torch.device("cuda" if device != "cpu" and usable_gpus() else "cpu")


def advice(device: str) -> str:
    """What bfloat16 would bring on the device that the setting leads to; results differ between the precisions."""
    if has_bfloat16_units(wanted(device)):
        return "this machine has units for bfloat16, which train about twice as fast"
    return "this machine gains nothing from bfloat16"


def choose(*, device: str, precision: str) -> Compute:
    """The same, with a GPU that no other process has taken and this process's share of the threads."""
    found = find(device=device, precision=precision)
    cap_threads()
    keep_freed_memory()
    if found.precision is torch.bfloat16 and not has_bfloat16_units(found.device):
        say("warning: compute.precision is 'bfloat16'; this machine gains nothing from it")
    if found.device.type == "cpu":
        if device == "auto" and torch.cuda.device_count():  # the driver counts cards that this build cannot use
            say(f"warning: {lack_of_cuda()}; the CPU is used")
        return found
    repeatable_on_cuda()
    numbers, names = zip(*usable_gpus().items(), strict=True)
    chosen = torch.device("cuda", numbers[own_gpu(names, local_rank=os.environ.get("LOCAL_RANK"))])
    torch.cuda.set_device(chosen)
    return replace(found, device=chosen)


def free_memory(device: torch.device) -> int:
    """The bytes of a device that this process may still take; those that were started together share a machine's."""
    if device.type == "cuda":
        return free_on_cuda(device)
    free = min(psutil.virtual_memory().available, left_by_limits())
    return int(free) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def repeatable_on_cuda() -> None:
    """Ask cuDNN for kernels that give the same bits in every run, and for float32 that is float32 (no TF32).

    That a killed training ends bit-equal is tested on the CPU; none of this was ever run on a GPU.
    """
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def own_gpu(names: Sequence[str], *, local_rank: str | None) -> int:
    """A GPU that is free; where several processes were started, the one of this process's number."""
    if local_rank is None:
        return machine.take(names, most=1, folder=machine.lock_folder())[0]
    index = int(local_rank)
    if index >= len(names):
        raise UserError(f"process {index + 1} on this machine has no GPU: PyTorch sees {len(names)}; start no more")
    machine.try_lock(names[index : index + 1], 1, machine.lock_folder())
    return index


def summary(compute: Compute) -> str:
    """A device, what it is called, its threads and its precision, for people; before it the number of processes."""
    on_cuda = compute.device.type == "cuda"
    name = torch.cuda.get_device_name(compute.device) if on_cuda else f"{torch.get_num_threads()} threads"
    times = f"{compute.processes} x " if compute.processes > 1 else ""
    return f"{times}{compute.device.type} ({name}), {str(compute.precision).removeprefix('torch.')}"


def cap_threads() -> None:
    """As many threads as EXEMPLAR_THREADS says, or else at most so many that all workers of the queue have theirs.

    Two processes with all cores each ran at a seventh of their speed (docs/log.md).
    """
    threads = machine.threads()
    torch.set_num_threads(threads if os.environ.get("EXEMPLAR_THREADS") else min(torch.get_num_threads(), threads))


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """In the block, a device without memory left ends the work with one line that ends in this advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        raise UserError(f"out of memory: {advice}{in_its_words(error)}") from None


def is_lack_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is out: Python's, PyTorch's or that of a library of CUDA's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(OUT_OF_MEMORY.search(str(error)))


def in_its_words(error: Exception) -> str:
    """What an error says, in brackets, where it may have another cause too: cuDNN's own files may be broken."""
    return f" ({one_line(error)})" if "find an engine" in str(error) else ""


def more_room(device: torch.device) -> str:
    """What to do where memory is short and no setting is to blame alone."""
    elsewhere = ", or set compute.device to 'cpu'" if device.type == "cuda" else ""
    return f"end what else takes memory on {device}{elsewhere}"
