"""What the card can do at most, as PyTorch reaches it: copies of memory, and products of large matrices."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.session import Row, Session, Works, measured

COPIED_BYTES = 2 << 30
SIDE, QUICK_SIDE = 8192, 64
PRECISIONS = {"bfloat16": torch.bfloat16, "tf32": torch.float32, "float32": torch.float32}


def works(session: Session) -> Works:
    """The copy, and a product in each precision."""
    yield "copy", partial(copy, session)
    for precision in PRECISIONS:
        yield f"product in {precision}", partial(product, session, precision)


def copy(session: Session) -> Iterator[Row]:
    """Bytes read and written a second."""
    free = torch.cuda.mem_get_info(session.device)[0] if session.on_cuda else 4 << 16
    source = torch.ones(min(COPIED_BYTES, free // 4) // 4, device=session.device)
    target = torch.empty_like(source)
    seconds = session.seconds(lambda: target.copy_(source))
    yield measured("copy on the device, read and written", 2 * source.nbytes / seconds / 1e9, "GB/s")


def product(session: Session, precision: str) -> Iterator[Row]:
    """Operations of a square matrix product of random numbers, which a later part's shares are of."""
    side, kind = QUICK_SIDE if session.quick else SIDE, PRECISIONS[precision]
    if kind is torch.bfloat16 and session.compute.precision is not kind:
        yield {"name": "matrix product in bfloat16", "skipped": "this device gains nothing from bfloat16"}
        return
    one, other = (torch.randn(side, side, device=session.device).to(kind) for _ in range(2))
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        seconds = session.seconds(lambda: one @ other)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    session.ceilings[precision] = 2 * side**3 / seconds / 1e12
    yield measured(f"matrix product in {precision}, {side} x {side}", session.ceilings[precision], "TFLOP/s")
