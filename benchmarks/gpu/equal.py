"""Whether the card computes what the CPU computes: rows, order, samples, losses, features, answers of two readers.

Allowed differences are those of rounding, and of a colour chain that is steep near black and grey.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from benchmarks import material, svms
from benchmarks.gpu import networks
from benchmarks.gpu.rates import by_kernels, plainly
from benchmarks.gpu.session import CPU, Row, Session, Works, apart, compared, skipped
from exemplar.methods.exemplar import RECIPES
from exemplar.models import initial
from exemplar.models.architecture import parse
from exemplar.probe import features, knn, svm
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.classifier import Classifier
from exemplar.training.loop import train_step
from exemplar.training.order import draw_order

STEPS, BATCH = 20, 64
CELLS = (2,)


def works(session: Session) -> Works:
    """A row or two for each thing that is computed."""
    yield "rows", partial(rows, session)
    yield "order", partial(order, session)
    yield "samples", partial(samples, session)
    yield "kernels", partial(kernels, session)
    for recipe in RECIPES:
        yield f"losses of {recipe}", partial(losses_of_both, session, recipe)
    yield "bfloat16", partial(bfloat16, session)
    yield "features", partial(pooled_features, session)
    yield "answers", partial(answers, session)


def surrogate(session: Session) -> SurrogateSet:
    """Few classes, which the CPU can render too."""
    return material.surrogate_set(8, 8) if session.quick else material.surrogate_set(200, 50)


def any_of(session: Session, data: SurrogateSet) -> torch.Tensor:
    """Indices of samples."""
    return torch.randint(len(data), (16 if session.quick else 4096,), generator=torch.Generator().manual_seed(0))


def rows(session: Session) -> Iterator[Row]:
    """Those of the transformation table, drawn on the device; a square that is chosen otherwise differs by far more."""
    data = surrogate(session)
    indices = any_of(session, data)
    ours, theirs = data.to(session.device).rows(indices.to(session.device)).cpu(), data.rows(indices)
    share = float((ours != theirs).double().mean())
    largest = float((ours - theirs).abs().max())
    yield compared("rows of the transformation table", largest, allowed=1e-5, share_that_differs=share)


def order(session: Session) -> Iterator[Row]:
    """That of an epoch's samples, which is drawn on the device."""
    data, settings = surrogate(session), networks.settings("release", BATCH)
    ours, theirs = (
        draw_order(data, settings, random_seed=0, epoch=1, device=device)[: len(data)].cpu()
        for device in (session.device, CPU.device)
    )
    yield compared("order of the samples, share of places", float((ours != theirs).double().mean()), allowed=0.0)


def samples(session: Session) -> Iterator[Row]:
    """The mean difference, and how many values differ visibly."""
    data = surrogate(session)
    indices = any_of(session, data)
    ours, _ = data.to(session.device).render(indices.to(session.device))
    distance = (ours.cpu() - data.render(indices)[0]).abs()
    mean, largest = float(distance.mean()), float(distance.max())
    yield compared("samples, mean difference", mean, allowed=1e-5, largest_of_all=largest)
    share = float((distance > 1e-3).double().mean())
    yield compared("samples, share of values that differ by more than 0.001", share, allowed=1e-3)


def kernels(session: Session) -> Iterator[Row]:
    """What the library's kernels give against PyTorch's operations on the same card, where they are in use there."""
    data, indices = surrogate(session).to(session.device), any_of(session, surrogate(session)).to(session.device)
    ours, (samples, _) = data.rows(indices), data.render(indices)
    with plainly():
        theirs, (plain_samples, _) = data.rows(indices), data.render(indices)
    told: dict[str, object] = {"by_kernels": by_kernels(session)}
    largest = float((ours - theirs).abs().max())
    yield compared("rows by the kernels against PyTorch's operations", largest, allowed=0.0, **told)
    distance = (samples - plain_samples).abs()
    told |= {"largest_of_all": float(distance.max()), "share_above_2e-6": float((distance > 2e-6).double().mean())}
    name = "samples by the kernels against PyTorch's operations, mean difference"
    yield compared(name, float(distance.mean()), allowed=1e-6, **told)


def losses(recipe: str, model: str, data: SurrogateSet, compute: Compute) -> list[float]:
    """Those of the first steps, without dropout, whose masks each device draws for itself."""
    state = networks.begun(recipe, model, len(data.label), device=compute.device, batch=BATCH)
    there = data.to(compute.device)
    state.model.begin(there)
    if isinstance(state.model, Classifier):
        state.model.head.dropout.eval()
    order = torch.randint(len(data), (STEPS, BATCH), generator=torch.Generator().manual_seed(1)).to(compute.device)
    return [float(train_step(state, there, indices, compute=compute).loss) for indices in order]


def losses_of_both(session: Session, recipe: str) -> Iterator[Row]:
    """In float32 on both."""
    model, data = networks.models(session)[0], surrogate(session)
    ours, theirs = (losses(recipe, model, data, compute) for compute in (session.exact, CPU))
    name = f"losses of {STEPS} steps of {model}, {recipe}, relative"
    yield compared(name, apart(ours, theirs), allowed=1e-3, first=theirs[0], last=theirs[-1])


def bfloat16(session: Session) -> Iterator[Row]:
    """Of the same device's float32."""
    if session.compute.precision is not torch.bfloat16:
        yield skipped("bfloat16 against float32", "this device gains nothing from bfloat16")
        return
    model, data = networks.models(session)[0], surrogate(session)
    ours, exact = (losses("release", model, data, compute) for compute in (session.compute, session.exact))
    yield compared(f"losses of {STEPS} steps in bfloat16 against float32, relative", apart(ours, exact), allowed=2e-2)


def pooled_features(session: Session) -> Iterator[Row]:
    """All layers, as the probe reads them."""
    model, images = networks.models(session)[0], material.draw_images(4 if session.quick else 128, random_seed=0)
    found = []
    for compute in (session.exact, CPU):
        encoder = initial.draw_encoder(
            parse(model), mean=torch.full((3, 32, 32), 0.5), generator=torch.Generator().manual_seed(0)
        )
        found.append(features.measure(encoder, images, side=material.SIDE, cells=CELLS, compute=compute).values)
    largest = float(np.abs(found[0] - found[1]).max() / np.abs(found[1]).max())
    yield compared(f"features of {model}, of the largest", largest, allowed=1e-4)


def answers(session: Session) -> Iterator[Row]:
    """The share of images that the SVMs, and the nearest neighbours, name otherwise."""
    count, width = (120, 50) if session.quick else (3000, 1000)
    problem = svms.draw(count, width, 10, costs=[1e-3, 1e-2, 1e-1], intercept_scaling=1.0)
    others = material.svm_features(2 * count, width, 10, random_seed=9)[0]
    named: list[tuple[torch.Tensor, torch.Tensor]] = []
    for device in (session.device, torch.device("cpu")):
        there = svms.on_device(problem, device)
        decided = svm.decide(there.solve(), others.to(device), problem.intercept_scaling)
        near = knn.predict(there.features, there.labels, others.to(device), classes=10)
        named.append((decided.argmax(1).cpu(), near.cpu()))
    for reader, ours, theirs in zip(("SVMs", "nearest neighbours"), *named, strict=True):
        share = float((ours != theirs).double().mean())
        yield compared(f"answers of {reader}, share that differs", share, allowed=5e-3)
