"""What PyTorch would make of rendering and of the bare step: compiled, and captured as a CUDA graph.

The library does without both. Each is made in a process of its own, behind all other parts: what fails there, as it
may for want of a compiler, leaves a process whose later numbers would be worth nothing.
"""

import time
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu import alone, networks
from benchmarks.gpu.rates import advice, bare_step, batches, drawn, rate, surrogate
from benchmarks.gpu.session import Row, Session, Work, Works, enough, measured
from exemplar.errors import UserError
from exemplar.methods.exemplar import RECIPES

FEW_WINDOWS = 200  # batches are rendered before the graph begins
WARMING_STEPS = 3


def works(session: Session) -> Works:
    """The rendering, then a step of each network, with large batches first; in a quick look one step, which fails."""
    if not session.quick:
        name = "rendering, compiled"
        yield name, partial(alone.rows, name, compiled, session)
    for batch in reversed(batches(session)):
        for model in networks.models(session):
            for recipe in RECIPES:
                name = f"bare step, as a CUDA graph, {model}, {recipe}, batches of {batch}"
                yield name, partial(alone.rows, name, partial(as_graph, name, recipe, model, batch), session)
                if session.quick:
                    return


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


def as_graph(name: str, recipe: str, model: str, batch: int, session: Session) -> Iterator[Row]:
    """The rate of a step that is captured, on always the same of its batches. Raises UserError without a card."""
    if not session.on_cuda:
        raise UserError("there is no CUDA device")
    with enough(advice(session, model, batch)):
        step = bare_step(session, surrogate(session, FEW_WINDOWS).to(session.device), recipe, model, batch)
        graph = captured(step)  # which uses the memory of the step, so that both live until the end
        yield rate(session, batch / session.seconds(graph.replay), name, recipe, model, batch)


def captured(work: Work) -> torch.cuda.CUDAGraph:
    """The work as one launch; its arguments are those of now."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # no types
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARMING_STEPS):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph
