"""Training against a bare loop over tensors that are ready, in the same precision and format, and against float32."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks import material, measure
from benchmarks.measure import LackingError, Rows, Works, check_same, rates
from exemplar.models import initial
from exemplar.models.architecture import parse
from exemplar.runtime import device
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Epoch, Settings
from exemplar.training.loop import fit
from exemplar.training.state import TrainState

BATCH, CLASSES = 64, 500
SETTINGS = Settings(epochs=1, batch_size=BATCH, learning_rate=0.01, momentum=0.9, weight_decay=0.004)
# The paper's networks: steps, steps of a quick look, the least share of the bare loop's rate.
MODELS = {
    "64c5-64c5-128f": (40, 2, 0.92),
    "64c5-128c5-256c5-512f": (10, 1, 0.96),
    "92c5-256c5-512c5-1024f": (5, 1, 0.96),
}
SMALL = next(iter(MODELS))
FLOAT32 = Compute(torch.device("cpu"), torch.float32)

Batches = Sequence[tuple[Tensor, Tensor]]


def works(*, quick: bool, repeats: int) -> Works:
    """A row for each network, and two for the precision."""
    compute = device.choose(device="cpu", precision=measure.precision())
    for model, (full, few, target) in MODELS.items():
        yield partial(against_bare, model, few if quick else full, compute, target=target, repeats=repeats)
    yield partial(against_float32, 2 if quick else 40, compute, repeats=repeats)


def data_of(steps: int) -> SurrogateSet:
    """The samples of an epoch of so many steps."""
    return material.surrogate_set(BATCH, steps)


def draw_method(model: str) -> Classifier:
    """The same untrained network every time."""
    generator = torch.Generator().manual_seed(0)
    encoder = initial.draw_encoder(parse(model), mean=torch.full((3, 32, 32), 0.5), generator=generator)
    return Classifier(encoder, initial.draw_head(encoder.width, CLASSES, generator=generator)).train()


def train(method: Classifier, data: SurrogateSet, compute: Compute) -> Epoch:
    """An epoch by the library."""
    return next(fit(method, data, SETTINGS, compute=compute, random_seed=0, label="benchmark"))


def ready_batches(data: SurrogateSet) -> Batches:
    """The batches of that epoch, rendered beforehand."""
    torch.manual_seed(0)
    return [data.render(indices) for indices in torch.split(torch.randperm(len(data)), BATCH)]


def train_bare(method: Classifier, batches: Batches, compute: Compute, layout: torch.memory_format) -> float:
    """The steps and nothing else: the mean loss, with the dropout that the library draws."""
    method = method.to(memory_format=layout)
    state, total = TrainState(method, SETTINGS), torch.zeros(())
    torch.manual_seed(0)
    torch.randperm(len(batches) * BATCH)
    for step, batch in enumerate(batches):
        state.set_rate(step / len(batches))
        with compute.autocast():
            loss = method(batch).loss
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        total += loss.detach()
    return float(total) / len(batches)


def in_layout(batches: Batches, layout: torch.memory_format) -> Batches:
    """The same batches, stored in another order of dimensions."""
    return [(samples.contiguous(memory_format=layout), targets) for samples, targets in batches]


def against_bare(model: str, steps: int, compute: Compute, *, target: float, repeats: int) -> Rows:
    """The library's epoch against the bare steps on ready tensors, both from the same weights in the same order."""
    data, layout = data_of(steps), torch.channels_last
    batches = in_layout(ready_batches(data), layout)
    ours, bare = draw_method(model), draw_method(model)
    loss = train_bare(bare, batches, compute, layout)
    check_same("mean loss", abs(train(ours, data, compute).loss - loss) < 1e-4 * loss)
    yield rates(
        f"training {model}, against a bare loop over ready tensors",
        lambda: train(ours, data, compute),
        lambda: train_bare(bare, batches, compute, layout),
        amount=(len(data), len(data)),
        unit="images/s",
        target=target,
        repeats=repeats,
    )


def against_float32(steps: int, compute: Compute, *, repeats: int) -> Rows:
    """The library's bfloat16 against PyTorch as it is by default, and against its own float32."""
    if compute.precision is not torch.bfloat16:
        raise LackingError("this processor has no bfloat16 units")
    data, plain = data_of(steps), torch.contiguous_format
    batches = ready_batches(data)
    ours, own, peer = draw_method(SMALL), draw_method(SMALL), draw_method(SMALL)
    loss = train_bare(peer, batches, FLOAT32, plain)
    for method, precision in ((ours, compute), (own, FLOAT32)):
        check_same("mean loss", abs(train(method, data, precision).loss - loss) < 1e-2 * loss)
    for name, theirs, target in (
        ("plain float32 in PyTorch's own format", lambda: train_bare(peer, batches, FLOAT32, plain), 2.0),
        ("its own float32", lambda: train(own, data, FLOAT32).loss, 1.0),
    ):
        yield rates(
            f"training {SMALL} in bfloat16, against {name}",
            lambda: train(ours, data, compute),
            theirs,
            amount=(len(data), len(data)),
            unit="images/s",
            target=target,
            repeats=repeats,
        )
