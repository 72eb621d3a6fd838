"""What the softmax over many classes costs in a step: over all of them, and over a batch's and some that are drawn.

And the head alone: by a product of matrices, by PyTorch's cross entropy in pieces, and as in training.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle

import torch

from benchmarks import material, softmax
from benchmarks.gpu import networks
from benchmarks.gpu.session import Row, Session, Work, Works, enough, measured, optional
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
ALONE, QUICK_ALONE = (8_000, 16_000, 100_000), (20, 40)
ALONE_WAYS = ("as in training", "in pieces")  # against the plain one


def works(session: Session) -> Works:
    """A row for each number of classes, and rows of the head alone."""
    for classes in QUICK_MANY if session.quick else MANY:
        yield f"a head of {classes:,} classes", partial(cost, session, classes)
    for classes in QUICK_ALONE if session.quick else ALONE:
        for way in ALONE_WAYS:
            name = f"the head alone, {way}, {classes:,} classes"
            yield name, partial(optional, name, partial(alone, session, way, classes))


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


def alone(session: Session, way: str, classes: int) -> Iterator[Row]:
    """Forward and backward of the medium network's head, against a product of matrices and the softmax of all scores.

    What PyTorch is too old for gives a row that is skipped.
    """
    width = int(networks.models(session)[1].rpartition("-")[2].removesuffix("f"))
    step = softmax.Step(softmax.Case(width, session.batch, classes, session.compute.precision), session.compute)
    with enough(f"the head alone with {classes:,} classes: lower --batch from {session.batch} to {session.batch // 2}"):
        found = {}
        for each in (way, "plain"):
            session.release()
            seconds = session.seconds(partial(step.run, softmax.WAYS[each]))
            found[each] = (seconds, session.peak(), float(step.run(softmax.WAYS[each])), step.gradients())
    ours, plain = found[way], found["plain"]
    yield measured(
        f"the head alone, {way}, {classes:,} classes, {width} wide, batches of {session.batch}: time against plain",
        ours[0] / plain[0],
        "x",
        milliseconds=1e3 * ours[0],
        milliseconds_plain=1e3 * plain[0],
        peak_GB=ours[1],
        peak_GB_plain=plain[1],
        apart_in_the_loss=abs(ours[2] / plain[2] - 1),
        apart_in_gradients=max(softmax.apart(*each) for each in zip(ours[3], plain[3], strict=True)),
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
