"""A step of training never waits for the device, seen on the CPU in the operations that it runs."""

from importlib import import_module

import pytest
import small
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from exemplar.methods.exemplar import RECIPES
from exemplar.models.architecture import parse
from exemplar.params.names import names_in
from exemplar.params.options import load_options
from exemplar.training.contract import Settings
from exemplar.training.loop import train_step
from exemplar.training.state import TrainState

TASKS = [name for name in names_in("methods", having=r"^def draw\(") if name != "multi_task"]
SETTINGS = Settings(epochs=1, batch_size=8, learning_rate=0.1, momentum=0.9, weight_decay=0.004)
# On a GPU the first three end with a copy to the host, which waits for all work before it; the last is the copy to the
# device of a constant that was made on the host.
WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.unique", "aten.lift_fresh")


class Waits(TorchDispatchMode):
    """Lists what is run in its block and would wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func).startswith(WAITS):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def waits_of_second_step(model, data, compute):
    """What the second step waits for; in the first one optimizers and constants are made."""
    state, indices = TrainState(model.train(), SETTINGS), torch.arange(8)
    train_step(state, data, indices, compute=compute)
    with Waits() as waits:
        train_step(state, data, indices, compute=compute)
    return waits.found


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_of_the_exemplar_task_waits_for_nothing(recipe: str, surrogate_set, compute):
    """Rendering, both recipes' networks and their optimizers run without a number that the host must see."""
    mean, generator = torch.full((3, 32, 32), 0.5), torch.Generator().manual_seed(0)
    model = RECIPES[recipe](parse(small.MODEL), 3, mean=mean, generator=generator)
    assert waits_of_second_step(model, surrogate_set, compute) == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_that_sees_some_classes_waits_for_nothing(recipe: str, surrogate_set, compute):
    """Classes are drawn, rows settled and put back where they lie."""
    assert waits_of_second_step(small.sampled(surrogate_set, recipe=recipe), surrogate_set, compute) == []


@pytest.mark.parametrize("name", TASKS)
def test_a_step_of_another_task_waits_for_nothing(name: str, compute):
    """The same for every pretext task on patches."""
    task, options = import_module(f"exemplar.methods.{name}"), load_options(name, small.PUBLISHED[name])
    generator = torch.Generator().manual_seed(0)
    data = task.draw(small.PICTURES, options, count=64, generator=generator)
    model = task.build(parse(small.MODEL), data, options, mean=torch.full((3, 32, 32), 0.5), generator=generator)
    assert waits_of_second_step(model, data, compute) == []


def test_a_number_that_the_host_reads_is_seen():
    """So is a constant that it makes."""
    with Waits() as waits:
        float(torch.arange(3).sum())
        torch.tensor([1.0, 2.0])
    assert waits.found == ["aten._local_scalar_dense.default", "aten.lift_fresh.default"]
