"""What PyTorch's compiler would make of rendering, which the library does without.

It is made in a process of its own, behind all other parts: what fails there, as it may for want of a compiler, leaves a
process whose later numbers would be worth nothing.
"""

import time
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu import alone
from benchmarks.gpu.rates import drawn, surrogate
from benchmarks.gpu.session import Row, Session, Works, measured


def works(session: Session) -> Works:
    """The rendering; nothing in a quick look, as it takes half a minute."""
    if not session.quick:
        name = "rendering, compiled"
        yield name, partial(alone.rows, name, compiled, session)


def compiled(session: Session) -> Iterator[Row]:
    """Samples of rows that are drawn, as the library renders them and as PyTorch's compiler would; how far they differ.

    Rows are never compiled, so both render the same squares: what the compiler makes of them for a CPU ends the process
    (docs/log.md).
    """
    data = surrogate(session).to(session.device)
    [indices] = drawn(data, session.batch, count=1)
    seed, rows, started = indices // data.draws.samples, data.rows(indices), time.perf_counter()
    transform = torch.compile(data.transform, fullgraph=True, dynamic=False)
    distance = transform(seed, rows).sub_(data.transform(seed, rows)).abs_()
    compile_seconds = time.perf_counter() - started
    plain, seconds = (session.seconds(partial(work, seed, rows)) for work in (data.transform, transform))
    yield measured(
        f"rendering, compiled, batches of {session.batch}",
        session.batch / seconds,
        "samples/s",
        milliseconds=1e3 * seconds,
        times_the_plain_one=plain / seconds,
        compile_seconds=compile_seconds,
        largest_difference=float(distance.max()),
        mean_difference=float(distance.mean()),
    )
