"""Whether this process renders with the kernels in Triton's language: on GPUs where they give what PyTorch gives.

They have never run on a GPU, but in Triton's interpreter (tests/surrogate/kernels/test_samples.py). So each is tried
once on a device, on samples that are always the same (trial.py), and whatever goes wrong, PyTorch's operations do the
work.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from exemplar.errors import UserError, one_line, say
from exemplar.runtime import machine
from exemplar.runtime.device import is_lack_of_memory

SWITCH = "EXEMPLAR_KERNELS"  # the environment variable that switches them off
DEVICES: tuple[str, ...] = ("cuda",)  # the interpreter would take those of a CPU too
ALLOWED = 1e-4  # between values of both; samples are 0..1
STDERR, MOST_SAID = 2, 1 << 16  # bytes

checked: set[tuple[str, torch.device]] = set()
failed: set[torch.device] = set()


def works(kernel: str, device: torch.device, apart: Callable[[torch.device], Tensor]) -> bool:
    """Whether to use a kernel on a device; when it is first asked for there, `apart` says how far its values are off.

    Only that first time waits for the device. Where one kernel fails, none is used from then on, and one line says so.
    Raises UserError where the device does nothing after that, and for an unknown value of EXEMPLAR_KERNELS.
    """
    if not wanted() or device.type not in DEVICES or device in failed:
        return False
    if (kernel, device) not in checked:
        if reason := lack(apart, device):
            require_work(device, f"the kernel of {kernel} failed ({reason})")
            failed.add(device)
            say(f"warning: PyTorch's operations render on {device}, slower, as the kernel of {kernel} fails ({reason})")
        checked.add((kernel, device))
    return device not in failed


def wanted() -> bool:
    """Whether EXEMPLAR_KERNELS leaves them on."""
    return machine.is_on(SWITCH, default=True, to="render by kernels on a GPU where they work")


def lack(apart: Callable[[torch.device], Tensor], device: torch.device) -> str | None:
    """Why a kernel cannot be used: it cannot be imported, compiled or run, or gives other values."""
    said: list[str] = []
    try:
        with stderr_in(said), plain_float32(device):
            largest = float(apart(device).abs().max())
    except Exception as error:  # Triton, a C compiler, an assembler and a driver may fail in any way
        if is_lack_of_memory(error):
            raise
        reason = one_line(error)
        if isinstance(error, subprocess.CalledProcessError):  # whose own words are the command
            reason = next((one_line(line) for line in said if "error" in line.lower()), reason)
        return f"{type(error).__name__}: {reason}"
    for line in said:
        say(line)
    return None if largest <= ALLOWED else f"its values differ by {largest:.2g}"


def require_work(device: torch.device, reason: str) -> None:
    """Raise UserError where the device does no work: after a fault of a kernel CUDA refuses all that follows."""
    try:
        one_operation(device)
    except RuntimeError as error:
        if is_lack_of_memory(error):
            raise
        raise UserError(
            f"{device} does no work any more ({one_line(error)}) after {reason}; run it again with {SWITCH}=0"
        ) from None


def one_operation(device: torch.device) -> None:
    """Let the device do something small, and wait for it."""
    torch.ones(1, device=device).add_(1)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def stderr_in(said: list[str]) -> Iterator[None]:
    """Keep lines off stderr that the block writes there, programs that it starts among them, and add them to `said`."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(STDERR)
        os.dup2(file.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            file.seek(0)
            said += file.read(MOST_SAID).decode(errors="replace").splitlines()


@contextmanager
def plain_float32(device: torch.device) -> Iterator[None]:
    """In the block no product is rounded to bfloat16 or TF32, whatever is set around it."""
    matmul = torch.backends.cuda.matmul
    name, off = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    before = getattr(matmul, name)  # of PyTorch's two names the one that can always be read
    setattr(matmul, name, off)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        setattr(matmul, name, before)
