"""What the card can do at most, as PyTorch reaches it: copies of memory, and products of large matrices."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.session import Row, Session, Works, measured, skipped

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
    """Operations of a square matrix product of random numbers."""
    if precision == "bfloat16" and session.compute.precision is not torch.bfloat16:
        yield skipped("matrix product in bfloat16", "this device gains nothing from bfloat16")
        return
    yield measured(f"matrix product in {precision}, {side(session)} squared", reach(session, precision), "TFLOP/s")


def side(session: Session) -> int:
    """Of the matrices."""
    return QUICK_SIDE if session.quick else SIDE


def reach(session: Session, precision: str) -> float:
    """TFLOP/s of the product, which are measured when they are first asked for: shares of other parts are of them."""
    if precision not in session.ceilings:
        shape, kind = (side(session), side(session)), PRECISIONS[precision]
        one, other = (torch.randn(shape, device=session.device).to(kind) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        try:
            seconds = session.seconds(lambda: one @ other)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False
        session.ceilings[precision] = 2 * side(session) ** 3 / seconds / 1e12
    return session.ceilings[precision]
