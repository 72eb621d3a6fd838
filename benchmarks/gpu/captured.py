"""Steps that are captured as a CUDA graph, as EXEMPLAR_CUDA_GRAPH=1 asks for: whether they are steps, and their rate.

Each piece has a process of its own, behind the parts that do without: what a capture that fails leaves behind may spoil
all later numbers.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu import alone, equal, networks
from benchmarks.gpu.rates import advice, bare_step, batches, library, rate, surrogate
from benchmarks.gpu.session import Row, Session, Works, apart, compared, enough, measured
from exemplar.errors import UserError, one_line
from exemplar.methods.exemplar import RECIPES
from exemplar.runtime.device import Compute
from exemplar.training.captured import Capture, Replay, Steps, cuda_graph, first
from exemplar.training.loop import observed_step
from exemplar.training.state import TrainState


def works(session: Session) -> Works:
    """Whether steps are equal, in a quick look under one recipe, which fails; then rates of trainings."""
    for recipe in RECIPES:
        name = f"captured steps, {recipe}"
        yield name, partial(alone.rows, name, partial(replayed, recipe), session)
        if session.quick:
            return
    models, (small, *large) = networks.models(session), batches(session)
    for model, batch in [*((model, small) for model in models), *((models[1], batch) for batch in large)]:
        for recipe in RECIPES:
            name = f"training, captured, {model}, {recipe}, batches of {batch}"
            yield name, partial(alone.rows, name, partial(training, name, recipe, model, batch), session)


def require_card(session: Session) -> None:
    """Raise UserError without a card."""
    if not session.on_cuda:
        raise UserError("there is no CUDA device")


def captured(work: Callable[[], None]) -> Replay:
    """The work as a CUDA graph. Raises UserError where it cannot be one, so that no step is done in its place."""
    before = sys.exc_info()[1]
    try:
        return cuda_graph(work)
    except RuntimeError as error:
        raise UserError(f"a step cannot be captured ({one_line(first(error, before=before))})") from None


def replayed(recipe: str, session: Session) -> Iterator[Row]:
    """Losses of 20 steps, with dropout and rates that change, and the weights after them; in each precision."""
    require_card(session)
    for compute in dict.fromkeys((session.exact, session.compute)):
        yield from differences(session, recipe, compute, captured)


def differences(session: Session, recipe: str, compute: Compute, capture: Capture) -> Iterator[Row]:
    """Of steps that are done twice without a capture, which are the card's own, and of captured ones."""
    theirs, others = learnt(session, recipe, compute, None)
    for kind, how in (("steps as they are, twice", None), ("captured steps", capture)):
        ours, weights = learnt(session, recipe, compute, how)
        name = f"of {equal.STEPS} {kind}, {recipe}, {str(compute.precision).removeprefix('torch.')}"
        yield compared(f"losses {name}, relative", apart(ours, theirs), allowed=0.0, first=theirs[0], last=theirs[-1])
        yield compared(f"weights {name}", float((weights - others).abs().max()), allowed=0.0)


def learnt(session: Session, recipe: str, compute: Compute, capture: Capture | None) -> tuple[list[float], Tensor]:
    """The losses of the first steps, and all weights and averages after them."""
    model, data = networks.models(session)[0], equal.surrogate(session)
    settings, there = networks.settings(recipe, equal.BATCH), data.to(compute.device)
    learner = networks.draw(recipe, model, len(data.label)).to(compute.device).to(memory_format=torch.channels_last)
    learner.begin(there)
    state = TrainState(learner, settings, captured=True)
    step = partial(observed_step, state, there, compute=compute)
    steps = Steps(step, batch_size=equal.BATCH, capture=capture, label=recipe)
    order = torch.randint(len(data), (equal.STEPS, equal.BATCH), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)  # for dropout
    losses = []
    for number, indices in enumerate(order.to(compute.device)):
        state.set_rate(number / equal.STEPS)
        losses.append(float(steps(indices)[0].loss))
    return losses, torch.cat([values.flatten().double() for values in learner.state_dict().values()])


def training(name: str, recipe: str, model: str, batch: int, session: Session) -> Iterator[Row]:
    """Images a second of the library's epochs with and without a capture, and the memory of each."""
    require_card(session)
    with enough(advice(session, model, batch)):
        data = surrogate(session).to(session.device)
        step = bare_step(session, data, recipe, model, batch)
        bare = batch / session.seconds(step)
        del step
        session.release()
        plain = library(session, data, recipe, model, batch, least=bare)
        without = {"peak_GB_without": session.peak(), "reserved_GB_without": session.reserved()}
        session.release()
        replays = library(session, data, recipe, model, batch, least=bare, capture=captured)
    yield rate(session, replays, name, recipe, model, batch) | {"reserved_GB": session.reserved()}
    yield measured(f"{name}, against the same without", replays / plain, "x", images_a_second_without=plain, **without)
