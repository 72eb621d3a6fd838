"""All tensors of a step lie on the device of the training: seen without a GPU, on PyTorch's stand-ins for its tensors.

A stand-in has a device, a type and a shape, and no numbers. An operation on tensors of two devices is an error, and so
is a number that the host reads.
"""

from importlib import import_module

import pytest
import small
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from exemplar.methods.exemplar import RECIPES
from exemplar.models.architecture import parse
from exemplar.models.images import resize
from exemplar.models.initial import draw_encoder
from exemplar.params.names import names_in
from exemplar.params.options import load_options
from exemplar.runtime import collective
from exemplar.runtime.device import Compute
from exemplar.training.contract import Settings
from exemplar.training.state import TrainState
from exemplar.training.watch import nonzero_gradients

TASKS = [name for name in names_in("methods", having=r"^def draw\(") if name != "multi_task"]
pytestmark = pytest.mark.skipif(
    torch.__version__.startswith("2.6."), reason="PyTorch 2.6 aborts in a convolution of stand-ins"
)
SETTINGS = Settings(epochs=1, batch_size=8, learning_rate=0.1, momentum=0.9, weight_decay=0.004)
CUDA, MEAN = Compute(torch.device("cuda", 0), torch.float32), torch.full((3, 32, 32), 0.5)


def move(model: nn.Module, mode: FakeTensorMode) -> None:
    """Put stand-ins on the GPU in the place of weights and buffers, as `.to` cannot."""
    for module in model.modules():
        for name, weights in module.named_parameters(recurse=False):
            there = mode.from_tensor(weights.detach()).to(CUDA.device)
            setattr(module, name, nn.Parameter(there, requires_grad=weights.requires_grad))
        for name, values in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(values).to(CUDA.device))


def steps(model, data):
    """Two steps but for the backward pass, which needs a driver, then an evaluation; the last outcome."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        there, indices = data.to(CUDA.device), torch.arange(8, device=CUDA.device)
        vars(there)["fine"] = 2  # the one number that rendering reads, once
        move(model.train(), mode)
        state = TrainState(model, SETTINGS)
        for _ in range(2):
            model.begin_step(there, indices, state.optimizer)
            with model.sharing(collective.share(8, CUDA)):
                outcome = model(there.render(indices))
            for weights in model.parameters():
                weights.grad = torch.zeros_like(weights) if weights.requires_grad else None
            state.optimizer.step()
            model.end_step(state.optimizer)
            state.progress.add(outcome, rows=8)
            nonzero_gradients(model)
        return model.eval()(there.render(indices))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_of_the_exemplar_task_stays_on_its_device(recipe: str, surrogate_set):
    """Rendering, both recipes' networks and optimizers, and the sums of an epoch."""
    model = RECIPES[recipe](parse(small.MODEL), 3, mean=MEAN, generator=torch.Generator().manual_seed(0))
    outcome = steps(model, surrogate_set)
    assert outcome.loss.device == outcome.score.device == CUDA.device


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_that_sees_some_classes_stays_on_its_device(recipe: str, surrogate_set):
    """Classes, rows and the evaluation among all of them."""
    outcome = steps(small.sampled(surrogate_set, recipe=recipe), surrogate_set)
    assert outcome.loss.device == outcome.score.device == CUDA.device


@pytest.mark.parametrize("name", TASKS)
def test_a_step_of_another_task_stays_on_its_device(name: str):
    """The same for every pretext task on patches."""
    task, options = import_module(f"exemplar.methods.{name}"), load_options(name, small.PUBLISHED[name])
    generator = torch.Generator().manual_seed(0)
    data = task.draw(small.PICTURES, options, count=64, generator=generator)
    model = task.build(parse(small.MODEL), data, options, mean=MEAN, generator=generator)
    outcome = steps(model, data)
    assert {value.device for value in (outcome.loss, outcome.score, *outcome.sums.values())} == {CUDA.device}


def test_features_stay_on_their_device():
    """From bytes to pooled maps."""
    encoder = draw_encoder(parse(small.MODEL), mean=MEAN, generator=torch.Generator().manual_seed(0))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        move(encoder, mode)
        images = torch.zeros(2, 3, 40, 40, dtype=torch.uint8, device=CUDA.device)
        blocks = encoder.extract_features(resize(images.float() / 255, 64), (1, 2))
    assert {block.device for block in blocks} == {CUDA.device}


def test_a_mixture_of_devices_and_a_number_that_is_read_are_seen():
    """Each is an error of its own."""
    with FakeTensorMode():
        here, there = torch.ones(3), torch.ones(3, device=CUDA.device)
        with pytest.raises(RuntimeError, match="cuda:0"):
            here + there
        with pytest.raises(DataDependentOutputException):
            float(there.sum())
