"""Surrogate samples a second, against kornia and scikit-image, and rendering's share of a training step."""

import time
from functools import partial

import torch
from torch import Tensor

from benchmarks import material, measure
from benchmarks.measure import Rows, Works, check_same, limit, rates, threads
from benchmarks.rendering_peers import kornia_samples, single_samples
from exemplar.models import initial
from exemplar.models.architecture import parse
from exemplar.runtime import device
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Settings
from exemplar.training.state import TrainState

BATCH = 128
MODEL, MODEL_BATCH = "64c5-64c5-128f", 64


def works(*, quick: bool, repeats: int) -> Works:
    """Three rows."""
    data = material.surrogate_set(20 if quick else 500, 20)
    yield partial(share, data, steps=3 if quick else 30, repeats=repeats)
    yield partial(against_single_images, data, images=8 if quick else 256, repeats=repeats)
    yield partial(against_kornia, data, batches=2 if quick else 40, repeats=repeats)


def batches_of(data: SurrogateSet, count: int) -> list[Tensor]:
    """Indices of samples in a random order, in batches."""
    return list(torch.randint(len(data), (count, BATCH), generator=torch.Generator().manual_seed(0)))


def agrees(ours: Tensor, theirs: Tensor) -> bool:
    """The same samples: but for the hue of what is almost grey, and for pixels at the border, where rules differ."""
    apart = (ours - theirs).abs()
    return float(apart.mean()) < 1e-4 and float((apart > 1e-3).double().mean()) < 1e-3


def against_kornia(data: SurrogateSet, *, batches: int, repeats: int) -> Rows:
    """Whole batches against whole batches."""
    chosen = batches_of(data, batches)
    with threads(1):
        check_same("samples", agrees(data.render(chosen[0])[0], kornia_samples(data, chosen[0])))
        yield rates(
            "surrogate samples, one thread, against kornia",
            lambda: [data.render(indices) for indices in chosen],
            lambda: [kornia_samples(data, indices) for indices in chosen],
            amount=(batches * BATCH, batches * BATCH),
            unit="samples/s",
            target=1.6,
            repeats=repeats,
        )


def against_single_images(data: SurrogateSet, *, images: int, repeats: int) -> Rows:
    """Whole batches against one image at a time."""
    indices, few = batches_of(data, 1)[0], batches_of(data, 2)[1].repeat(-(-images // BATCH))[:images]
    with threads(1):
        check_same("samples", agrees(data.render(few)[0], single_samples(data, few)))
        yield rates(
            "surrogate samples, one thread, against scikit-image",
            lambda: [data.render(indices) for _ in range(10)],
            lambda: single_samples(data, few),
            amount=(10 * BATCH, images),
            unit="samples/s",
            target=40,
            repeats=repeats,
        )


def share(data: SurrogateSet, *, steps: int, repeats: int) -> Rows:
    """Both parts of training steps, timed where they happen."""
    compute, generator = device.choose(device="cpu", precision=measure.precision()), torch.Generator().manual_seed(0)
    encoder = initial.draw_encoder(parse(MODEL), mean=torch.full((3, 32, 32), 0.5), generator=generator)
    head = initial.draw_head(encoder.width, len(data.label), generator=generator)
    method = Classifier(encoder, head).to(memory_format=torch.channels_last).train()
    state = TrainState(method, Settings(1, MODEL_BATCH, 0.01, 0.9, 0.004))
    shares = []
    for _ in range(repeats + 1):
        rendering, started = 0.0, time.perf_counter()
        for indices in torch.randint(len(data), (steps, MODEL_BATCH), generator=generator):
            before = time.perf_counter()
            samples, targets = data.render(indices)
            rendering += time.perf_counter() - before
            training_step(state, samples, targets, compute)
        shares.append(rendering / (time.perf_counter() - started))
    yield limit(f"rendering's share of a training step of {MODEL}", shares[1:], most=0.07, unit="share")


def training_step(state: TrainState, samples: Tensor, targets: Tensor, compute: device.Compute) -> None:
    """The step of training.fit, on samples that are there."""
    with compute.autocast():
        loss = state.model((samples.contiguous(memory_format=torch.channels_last), targets)).loss
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
