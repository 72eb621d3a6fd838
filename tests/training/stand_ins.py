"""Whole steps of training on PyTorch's stand-ins for the tensors of a GPU; prints what of each took place on the host.

A stand-in has a device, a type and a shape, and no numbers: to read one is an error. Backward, those for "cuda" ask for
a driver. So the GPU is here a device that Python names, and as PyTorch keeps that name until its process ends, this
is a program of its own.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module

import small
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import material
from exemplar.methods.exemplar import RECIPES
from exemplar.models.architecture import parse
from exemplar.models.images import resize
from exemplar.models.initial import draw_encoder
from exemplar.params.names import names_in
from exemplar.params.options import load_options
from exemplar.runtime.device import Compute
from exemplar.surrogate.patches import Patches
from exemplar.training.contract import Settings
from exemplar.training.learner import Learner, Samples
from exemplar.training.loop import train_step
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.order import draw_order
from exemplar.training.state import TrainState
from exemplar.training.watch import nonzero_gradients

BATCH, CLASSES = 8, 16
SETTINGS = Settings(epochs=1, batch_size=BATCH, learning_rate=0.1, momentum=0.9, weight_decay=0.004)
MEAN = torch.full((3, 32, 32), 0.5)


class Backend(backend_registration._DummyBackendModule):
    """What autocast asks a device for."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend("gpu", backend_module=Backend())
DEVICE = torch.device("gpu", 0)
COMPUTE = Compute(DEVICE, torch.float32)


class StandIns(FakeTensorMode):
    """Stand-ins for the tensors of a device that is not there."""

    avoid_device_init = True


class OnTheHost(TorchDispatchMode):
    """Lists the operations in its block that take or give a tensor of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        tensors = (each for each in tree_leaves((args, kwargs, given)) if isinstance(each, Tensor))
        if any(tensor.device != DEVICE for tensor in tensors):
            self.found.append(str(func))
        return given


def move(model: nn.Module, mode: FakeTensorMode) -> None:
    """Put stand-ins in the place of weights and buffers, as `.to` cannot."""
    for module in model.modules():
        for name, weights in module.named_parameters(recurse=False):
            there = mode.from_tensor(weights.detach()).to(DEVICE)
            setattr(module, name, nn.Parameter(there, requires_grad=weights.requires_grad))
        for name, values in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(values).to(DEVICE))


def on_the_host(prepare: Callable[[FakeTensorMode], Callable[[], object]]) -> list[str]:
    """The operations of the prepared work that take or give a tensor of the host; last the error that ended it."""
    with StandIns(allow_non_fake_inputs=True) as mode, torch.autograd.set_multithreading_enabled(False):
        work = prepare(mode)
        with OnTheHost() as host:
            try:
                work()
            except Exception as error:
                return [*host.found, f"{type(error).__name__}: {error}"]
    return host.found


def steps(model: Learner, data: Samples, mode: FakeTensorMode) -> Callable[[], object]:
    """The second and the third step of an epoch; in the first optimizers and constants are made.

    With `negatives`, classes that were not seen yet start in the second; in the third there are none.
    """
    there = data.to(DEVICE)
    move(model.train(), mode)
    model.draws = True  # else the states of the host's random generator would be compared
    state = TrainState(model, SETTINGS, captured=isinstance(model, NormalizedLearner))  # SGD would read numbers there
    order = draw_order(there, SETTINGS, random_seed=0, epoch=0, device=DEVICE)

    def step(number: int) -> None:
        indices = order[number * BATCH : (number + 1) * BATCH]
        state.set_rate(0.1)
        outcome = train_step(state, there, indices, compute=COMPUTE)
        state.progress.add(outcome, rows=len(indices))
        nonzero_gradients(model)

    step(0)
    return lambda: [step(number) for number in (1, 2)]


def learners() -> Iterator[tuple[str, Learner, Samples]]:
    """Both recipes, with all classes and with some of them in a step, and every pretext task."""
    surrogate_set = material.surrogate_set(CLASSES, 4)
    for recipe, draw in RECIPES.items():
        generator = torch.Generator().manual_seed(0)
        yield recipe, draw(parse(small.MODEL), CLASSES, mean=MEAN, generator=generator), surrogate_set
        yield f"{recipe}, negatives", small.sampled(surrogate_set, recipe=recipe, batch_size=BATCH), surrogate_set
    for name in names_in("methods", having=r"^def draw\("):
        task, options = import_module(f"exemplar.methods.{name}"), load_options(name, small.PUBLISHED[name])
        generator = torch.Generator().manual_seed(0)
        data = task.draw(small.PICTURES, options, count=64, generator=generator)
        yield name, task.build(parse(small.MODEL), data, options, mean=MEAN, generator=generator), data


def features(mode: FakeTensorMode) -> Callable[[], object]:
    """From bytes to pooled maps."""
    encoder = draw_encoder(parse(small.MODEL), mean=MEAN, generator=torch.Generator().manual_seed(0))
    move(encoder, mode)
    images = torch.zeros(2, 3, 40, 40, dtype=torch.uint8, device=DEVICE)
    return lambda: encoder.extract_features(resize(images.float() / 255, 64), (1, 2))


def ones() -> Tensor:
    return torch.ones(3, device=DEVICE)


LEAVING = {
    "a number that is read": lambda: float(ones().sum()),
    "rows that a mask chooses": lambda: ones()[ones() > 0],
    "a list that becomes a tensor": lambda: torch.tensor([1.0, 2.0], device=DEVICE),
    "a range that is made on the host": lambda: torch.arange(3).to(DEVICE),
    "a mixture of devices": lambda: torch.ones(3) + ones(),
    "a copy to the host": lambda: ones().cpu(),
}


def main() -> None:
    Patches.fine = 2  # else found once, by reading a number of the device
    found = {name: on_the_host(partial(steps, model, data)) for name, model, data in learners()}
    found["features"] = on_the_host(features)
    seen = {name: on_the_host(lambda _, work=work: work) for name, work in LEAVING.items()}
    json.dump({"steps": found, "seen": seen}, sys.stdout)


if __name__ == "__main__":
    main()
