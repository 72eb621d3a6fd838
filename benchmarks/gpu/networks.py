"""The paper's three networks, the recipes that train them, and their operations, counted and not estimated."""

from dataclasses import replace
from functools import cache

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.session import Session
from exemplar.methods.exemplar import RECIPES
from exemplar.models.architecture import parse
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import Batch
from exemplar.training.contract import Settings
from exemplar.training.learner import Learner
from exemplar.training.state import TrainState

SMALL, MEDIUM, LARGE = "64c5-64c5-128f", "64c5-128c5-256c5-512f", "92c5-256c5-512c5-1024f"
# The largest with filters in eights, as tensor cores take them.
IN_EIGHTS, QUICK_IN_EIGHTS = "96c5-256c5-512c5-1024f", "8c5-8c5-12c5-16f"
MODELS, QUICK_MODELS = (SMALL, MEDIUM, LARGE), ("4c5-4c5-8f", "4c5-8c5-12f", "4c5-8c5-12c5-16f")
CLASSES, QUICK_CLASSES = 16_000, 20  # of the head, as in the published trainings
# As in runs/table1_medium.sh and runs/cpu_cifar10.sh.
SETTINGS = {
    "release": Settings(epochs=1, batch_size=128, learning_rate=0.01, momentum=0.9, weight_decay=0.004),
    "fast": Settings(epochs=1, batch_size=64, learning_rate=0.1, momentum=0.9, weight_decay=0.0005),
}


def models(session: Session) -> tuple[str, ...]:
    """The three networks, or three tiny ones in a quick look."""
    return QUICK_MODELS if session.quick else MODELS


def in_eights(session: Session) -> str:
    """The largest of them with more filters in its first layer."""
    return QUICK_IN_EIGHTS if session.quick else IN_EIGHTS


def classes(session: Session) -> int:
    """The outputs of the head."""
    return QUICK_CLASSES if session.quick else CLASSES


def draw(recipe: str, model: str, outputs: int) -> Learner:
    """The same untrained network every time."""
    generator = torch.Generator().manual_seed(0)
    return RECIPES[recipe](parse(model), outputs, mean=torch.full((3, 32, 32), 0.5), generator=generator).train()


def settings(recipe: str, batch: int, epochs: int = 1) -> Settings:
    """The recipe's numbers with another batch."""
    return replace(SETTINGS[recipe], batch_size=batch, epochs=epochs)


def begun(recipe: str, model: str, outputs: int, *, device: torch.device, batch: int) -> TrainState:
    """A training that can make steps, at its highest rate."""
    learner = draw(recipe, model, outputs).to(device).to(memory_format=torch.channels_last)
    state = TrainState(learner, settings(recipe, batch))
    state.set_rate(0.1)
    return state


def step(state: TrainState, batch: Batch, compute: Compute) -> None:
    """Forward, backward and optimizer on samples that are there."""
    with compute.autocast():
        loss = state.model(batch).loss
    state.optimizer.zero_grad()
    loss.backward()
    with compute.autocast_step():
        state.optimizer.step()


@cache
def operations(recipe: str, model: str, outputs: int) -> tuple[float, float]:
    """Of one sample, forward and backward, and of the optimizer in a step, whatever the batch.

    Two for each multiplication and addition in products, by PyTorch's count, which computes nothing.
    """
    count = 2  # batch normalisation needs two samples
    with FakeTensorMode():
        state = TrainState(draw(recipe, model, outputs), settings(recipe, count))
        samples, targets = torch.zeros(count, 3, 32, 32), torch.zeros(count, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            state.model((samples, targets)).loss.backward()
        with FlopCounterMode(display=False) as optimizer:
            state.optimizer.step()
    return counter.get_total_flops() / count, float(optimizer.get_total_flops())
