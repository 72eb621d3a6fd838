"""The bare step captured as a CUDA graph.

Each is made in a process of its own, behind all other parts: what fails there leaves a process whose later numbers
would be worth nothing.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu import alone, networks
from benchmarks.gpu.rates import advice, bare_step, batches, rate, surrogate
from benchmarks.gpu.session import Row, Session, Work, Works, enough
from exemplar.errors import UserError
from exemplar.methods.exemplar import RECIPES

FEW_WINDOWS = 200  # batches are rendered before the graph begins
WARMING_STEPS = 3


def works(session: Session) -> Works:
    """A step of each network, with large batches first; in a quick look one step, which fails."""
    for batch in reversed(batches(session)):
        for model in networks.models(session):
            for recipe in RECIPES:
                name = f"bare step, as a CUDA graph, {model}, {recipe}, batches of {batch}"
                yield name, partial(alone.rows, name, partial(as_graph, name, recipe, model, batch), session)
                if session.quick:
                    return


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
