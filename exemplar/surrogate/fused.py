"""Whether this process renders with the kernels in Triton's language: on GPUs where they give what PyTorch gives.

They have never run on a GPU, but in Triton's interpreter (tests/surrogate/kernels/test_samples.py). So the first batch
on a device is rendered both ways, and whatever goes wrong, PyTorch's operations do the work.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from exemplar.errors import one_line, say
from exemplar.runtime.device import is_lack_of_memory
from exemplar.surrogate.transformation import COLUMNS

DEVICES: tuple[str, ...] = ("cuda",)  # the interpreter would take those of a CPU too
ALLOWED = 1e-4  # between values of both; samples are 0..1
COMPARED = 64  # samples of the first batch

checked: set[tuple[str, torch.device]] = set()
failed: set[torch.device] = set()


def works(kernel: str, device: torch.device, apart: Callable[[], Tensor]) -> bool:
    """Whether to use a kernel on a device; when it is first asked for there, `apart` says how far its values are off.

    Only that first time waits for the device. Where one kernel fails, none is used from then on, and one line says so.
    """
    if device.type not in DEVICES or device in failed:
        return False
    if (kernel, device) not in checked:
        if reason := lack(apart):
            failed.add(device)
            say(f"warning: PyTorch's operations render on {device}, slower, as the kernel of {kernel} fails ({reason})")
        checked.add((kernel, device))
    return device not in failed


def lack(apart: Callable[[], Tensor]) -> str | None:
    """Why a kernel cannot be used: it cannot be imported, compiled or run, or gives other values."""
    try:
        largest = float(apart().abs().max())
    except Exception as error:  # Triton, a C compiler, an assembler and a driver may fail in any way
        if is_lack_of_memory(error):
            raise
        return f"{type(error).__name__}: {one_line(error)}"
    return None if largest <= ALLOWED else f"its values differ by {largest:.2g}"


def calm(rows: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
    """The same rows where the colour chain is steep nowhere, so that a rounding error stays one.

    Powers below 1 and offsets above 0 make colours out of the last digit of what is nearly grey or black; factors of
    components above 1 multiply errors.
    """
    columns = dict(zip(COLUMNS, rows.unbind(1), strict=True))
    for number in (1, 2, 3):
        columns[f"pca_factor_{number}"] = columns[f"pca_factor_{number}"].clamp_max(1)
    for name in ("saturation", "value"):
        columns[f"{name}_power"] = columns[f"{name}_power"].clamp_min(1)
        columns[f"{name}_offset"] = columns[f"{name}_offset"].clamp_max(0)
    return torch.stack(list(columns.values()), 1)
