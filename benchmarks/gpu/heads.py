"""What the softmax over many classes costs in a step: over all of them, and over a batch's and some that are drawn."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle

import torch

from benchmarks import material
from benchmarks.gpu import networks
from benchmarks.gpu.session import Row, Session, Work, Works, enough, measured
from exemplar.methods.exemplar import untrained
from exemplar.models.architecture import parse
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.contract import TrainInputs
from exemplar.training.loop import train_step
from exemplar.training.state import TrainState

FEW, MANY, QUICK_MANY = 100, (8_000, 16_000, 1_000_000), (20, 40, 400)
MOST_FULL, NEGATIVES = 16_000, 8192  # with more classes, so many are drawn in a step
WINDOWS = 100
STEPS = 20  # whose batches differ


def works(session: Session) -> Works:
    """A row for each number of classes."""
    for classes in QUICK_MANY if session.quick else MANY:
        yield f"a head of {classes:,} classes", partial(cost, session, classes)


def cost(session: Session, classes: int) -> Iterator[Row]:
    """Milliseconds of a whole step of the medium network, beside those with a hundred classes."""
    model, batch, negatives = networks.models(session)[1], session.batch, 16 if session.quick else NEGATIVES
    drawn = negatives if classes > (QUICK_MANY[1] if session.quick else MOST_FULL) else None
    with enough(f"a head of {classes:,} classes: lower --batch from {batch} to {batch // 2}"):
        least = session.seconds(steps(session, model, 10 if session.quick else FEW, batch, None))
        session.release()
        seconds = session.seconds(steps(session, model, classes, batch, drawn))
    yield measured(
        f"a step with a head of {classes:,} classes, {model}, release, batches of {batch}",
        1e3 * seconds,
        "ms",
        milliseconds_with_few_classes=1e3 * least,
        share_of_the_head=1 - least / seconds,
        negatives=drawn,
        peak_GB=session.peak(),
    )


def steps(session: Session, model: str, classes: int, batch: int, negatives: int | None) -> Work:
    """Whole steps of a training, from numbers of samples to changed weights."""
    data = surrogate(session, classes)
    settings = replace(networks.settings("release", batch), negatives=negatives)
    inputs = TrainInputs(
        architecture=parse(model),
        surrogate=data,
        mean=torch.full((3, 32, 32), 0.5),
        images=data.windows.numpy(),
        options={},
        settings=settings,
        recipe="release",
        random_seed=0,
        compute=session.compute,
    )
    learner, there = untrained(inputs), data.to(session.device)
    learner.to(session.device).to(memory_format=torch.channels_last).train()
    state = TrainState(learner, settings)
    state.set_rate(0.1)
    indices = torch.randint(len(data), (STEPS, batch), generator=torch.Generator().manual_seed(0)).to(session.device)
    following = cycle(list(indices))
    return lambda: train_step(state, there, next(following), compute=session.compute)


def surrogate(session: Session, classes: int) -> SurrogateSet:
    """A sample for every class, cut out of a few windows."""
    drawn = material.surrogate_set(10 if session.quick else WINDOWS, 1)
    seed = torch.arange(classes) % len(drawn.label)
    by_seed = {name: getattr(drawn, name)[seed] for name in ("window_index", "centre", "side")}
    return replace(drawn, label=torch.arange(classes), **by_seed)
