"""Training steps of every pretext task, from rows to changed weights, against those of its encoder passes alone."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from inspect import signature
from types import ModuleType

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from benchmarks import material, measure
from benchmarks.measure import Rows, Works, rates
from exemplar.models.architecture import parse
from exemplar.params.load import load_params
from exemplar.params.names import names_in
from exemplar.params.options import load_options
from exemplar.runtime import device
from exemplar.runtime.device import Compute
from exemplar.surrogate.patches import Patches, mean_colour
from exemplar.training.contract import FEWEST_ROWS, Settings
from exemplar.training.learner import Learner, Outcome
from exemplar.training.loop import train_step
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.state import TrainState
from exemplar.training.trunk import Trunk, draw_trunk

MODEL, PASSES_AT_ONCE, IMAGES = "64c5-64c5-128f", 64, 200
SETTINGS = Settings(epochs=1, batch_size=PASSES_AT_ONCE, learning_rate=0.05, momentum=0.9, weight_decay=0.004)
TARGET = 0.85


def tasks() -> Iterator[tuple[str, ModuleType]]:
    """Every method that draws rows of patches."""
    for name in names_in("methods", having=r"^def draw\("):
        yield name, import_module(f"exemplar.methods.{name}")


def works(*, quick: bool, repeats: int) -> Works:
    """A row for each task."""
    compute = device.choose(device="cpu", precision=measure.precision())
    for name, task in tasks():
        yield partial(against_passes, name, task, compute, steps=1 if quick else 10, repeats=repeats)


def passes_of(task: ModuleType, images: UInt8[np.ndarray, "n 3 h w"], options: object) -> float:
    """How often the encoder runs for a row."""
    if not hasattr(task, "passes"):
        return float(task.PASSES)
    asked = (images, options)[: len(signature(task.passes).parameters)]
    return float(task.passes(*asked))


class Passes(NormalizedLearner):
    """A trunk that learns nothing: its passes and the change of its filters are those of a task."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, batch: tuple[Tensor, Tensor]) -> Outcome:
        """Any number that depends on all that the trunk says."""
        patches, weights = batch
        loss = (self.trunk(patches).float() * weights).mean()
        return Outcome(loss, loss.detach())


def against_passes(name: str, task: ModuleType, compute: Compute, *, steps: int, repeats: int) -> Rows:
    """The loop's steps on fresh rows, against the same steps of the trunk alone on as many ready patches.

    What is compared is what a task costs beside its passes: the cutting of its patches, heads and loss. The change of
    the encoder's filters (Muon) is on both sides.
    """
    images, options = material.draw_images(IMAGES, random_seed=0), load_options(name, load_params().tasks[name])
    passes, generator = passes_of(task, images, options), torch.Generator().manual_seed(0)
    rows = max(int(PASSES_AT_ONCE / passes), FEWEST_ROWS)
    data = task.draw(images, options, count=steps * rows, generator=generator)
    learner = task.build(parse(MODEL), data, options, mean=mean_colour(data), generator=generator)
    bare = Passes(draw_trunk(parse(MODEL), mean=mean_colour(data), generator=generator))
    patches = torch.rand(round(rows * passes), 3, 32, 32, generator=generator)
    ready = (patches, torch.rand(len(patches), bare.trunk.encoder.width, generator=generator))
    batches = torch.split(torch.arange(len(data)), rows)
    ours, theirs = started(learner, data), started(bare, data)
    yield rates(
        f"a step of {name}, against its {passes:g} encoder passes a row",
        lambda: [train_step(ours, data, indices, compute=compute) for indices in batches],
        lambda: [bare_step(theirs, ready, compute) for _ in batches],
        amount=(len(data), len(data)),
        unit="rows/s",
        target=TARGET,
        repeats=repeats,
    )


def started(learner: Learner, data: Patches) -> TrainState:
    """A training in its midst, so that every step changes the weights."""
    learner.to(memory_format=torch.channels_last).train()
    learner.begin(data)
    state = TrainState(learner, SETTINGS)
    state.set_rate(0.5)
    return state


def bare_step(state: TrainState, batch: tuple[Tensor, Tensor], compute: Compute) -> object:
    """Forward, backward, change: the loss."""
    with compute.autocast():
        loss = state.model(batch).loss
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    return loss
