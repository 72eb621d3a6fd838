"""Training steps of every pretext task, from rows to changed weights, against what their encoder passes alone take."""

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
from exemplar.surrogate.patches import mean_colour
from exemplar.training.contract import Settings
from exemplar.training.loop import train_step
from exemplar.training.state import TrainState
from exemplar.training.task import FEWEST_ROWS
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
        yield partial(against_passes, name, task, compute, steps=1 if quick else 20, repeats=repeats)


def passes_of(task: ModuleType, images: UInt8[np.ndarray, "n 3 h w"], options: object) -> float:
    """How often the encoder runs for a row."""
    if not hasattr(task, "passes"):
        return float(task.PASSES)
    asked = (images, options)[: len(signature(task.passes).parameters)]
    return float(task.passes(*asked))


def against_passes(name: str, task: ModuleType, compute: Compute, *, steps: int, repeats: int) -> Rows:
    """The loop's steps on fresh rows, against the trunk forward and backward on as many ready patches, and no more.

    What a step has beside its passes is the cutting of its patches, heads, loss, and the change of the weights.
    """
    images, options = material.draw_images(IMAGES, random_seed=0), load_options(name, load_params().tasks[name])
    passes, generator = passes_of(task, images, options), torch.Generator().manual_seed(0)
    rows = max(int(PASSES_AT_ONCE / passes), FEWEST_ROWS)
    data = task.draw(images, options, count=steps * rows, generator=generator)
    learner = task.build(parse(MODEL), data, options, mean=mean_colour(data), generator=generator)
    learner.to(memory_format=torch.channels_last).train().begin(data)
    state, batches = TrainState(learner, SETTINGS), torch.split(torch.arange(len(data)), rows)
    state.set_rate(0.5)
    trunk = draw_trunk(parse(MODEL), mean=mean_colour(data), generator=generator)
    trunk.to(memory_format=torch.channels_last).train()
    patches = torch.rand(round(rows * passes), 3, 32, 32, generator=generator)
    gradient = torch.rand(len(patches), trunk.encoder.width, generator=generator)
    yield rates(
        f"a step of {name}, against its {passes:g} encoder passes a row",
        lambda: [train_step(state, data, indices, compute=compute) for indices in batches],
        lambda: [pass_through(trunk, patches, gradient, compute) for _ in batches],
        amount=(len(data), len(data)),
        unit="rows/s",
        target=TARGET,
        repeats=repeats,
    )


def pass_through(trunk: Trunk, patches: Tensor, gradient: Tensor, compute: Compute) -> Tensor:
    """Once forward and once backward."""
    with compute.autocast():
        vectors: Tensor = trunk(patches)
    trunk.zero_grad()
    vectors.backward(gradient.to(vectors.dtype))
    return vectors
