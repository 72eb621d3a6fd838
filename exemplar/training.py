"""fit(): the one loop. It yields a record per epoch and knows neither MLflow nor any file but its checkpoint."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from exemplar import distributed
from exemplar.architecture import Full
from exemplar.atomic import replacing
from exemplar.checkpoints import Checkpoint, Part, say
from exemplar.device import Compute, enough_memory
from exemplar.network import Encoder, Head
from exemplar.progress import Progress, track
from exemplar.surrogate import SurrogateSet
from exemplar.watch import Watch, signal_of, smaller_batches

# The release's schedule: (share of all steps after which it holds, factor of the learning rate); docs/method.md.
SCHEDULE = ((0.0, 1.0), (10 / 13, 0.4), (11 / 13, 0.1), (12 / 13, 0.04), (12.5 / 13, 0.01))
# The release's multipliers: weight decay by layer (later convolutions repeat the last), all relative to the settings.
CONV_DECAY, FULL_DECAY = (0.0, 0.0, 0.25), 1.0
HEAD_DECAY, HEAD_RATE, BIAS_RATE = 4.0, 0.25, 2.0
STEPS_BETWEEN_NUMBERS = 20


@dataclass(frozen=True)
class Settings:
    """The numbers of a training; they come from this section of params.yaml."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    section: str = "train"


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured: mean loss, share of samples classified right, and the rate of work."""

    epoch: int
    loss: float
    score: float
    learning_rate: float
    samples_per_second: float

    def numbers(self) -> dict[str, float]:
        """The record without its number, which is a step in a curve."""
        return {name: value for name, value in asdict(self).items() if name != "epoch"}


class Classifier(nn.Module):
    """An encoder with a softmax head: the exemplar method's network, and what fine-tuning trains."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, batch: tuple[Float[Tensor, "b 3 32 32"], Int64[Tensor, " b"]]) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood (paper, equation 4) and the number of samples classified right."""
        samples, targets = batch
        scores = self.head(self.encoder(samples)).flatten(1)
        loss = functional.cross_entropy(scores.float(), targets)
        return loss, (scores.argmax(1) == targets).sum()


def rate_factor(progress: float) -> float:
    """The factor of the learning rate after this share of all steps."""
    return [factor for start, factor in SCHEDULE if progress >= start][-1]


def parameter_groups(
    encoder: Encoder, head: Head, *, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Two groups per layer, weights and biases, with the release's multipliers (docs/method.md)."""
    layers: list[tuple[nn.Module, float, float]] = []
    for index, (layer, module) in enumerate(zip(encoder.architecture, encoder.layers, strict=True)):
        decay = FULL_DECAY if isinstance(layer, Full) else CONV_DECAY[min(index, len(CONV_DECAY) - 1)]
        layers.append((module, decay, 1.0))
    layers.append((head.scores, HEAD_DECAY, HEAD_RATE))
    return [
        group
        for module, decay, rate in layers
        for group in (
            {"params": [module.weight], "lr": learning_rate * rate, "weight_decay": weight_decay * decay},
            {"params": [module.bias], "lr": learning_rate * BIAS_RATE, "weight_decay": 0.0},
        )
    ]


class State:
    """All that goes on from one step to the next; saved whole."""

    def __init__(self, method: Classifier, settings: Settings) -> None:
        rate, decay = settings.learning_rate, settings.weight_decay
        groups = parameter_groups(method.encoder, method.head, learning_rate=rate, weight_decay=decay)
        self.method, self.optimizer = method, torch.optim.SGD(groups, momentum=settings.momentum)
        self.epochs: list[Epoch] = []
        self.part = Part(next(method.parameters()).device)
        self.rates, self.factor = [group["lr"] for group in groups], 1.0

    def set_rate(self, progress: float) -> None:
        """Set every group's learning rate for this share of the whole training."""
        self.factor = rate_factor(progress)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.factor

    def end_epoch(self, record: Epoch) -> None:
        """Keep the record; the next epoch begins with nothing done."""
        self.epochs.append(record)
        self.part = Part(self.part.device)

    def content(self) -> dict[str, Any]:
        """Weights, momenta, records and the begun epoch."""
        return {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "part": self.part.content(),
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Go on from a `content`."""
        self.method.load_state_dict(content["method"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.part.restore(content["part"])
        self.epochs[:] = [Epoch(**epoch) for epoch in content["epochs"]]


def learn(
    state: State, data: SurrogateSet, indices: Int64[Tensor, " b"], *, compute: Compute
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The release's step on a batch, of which this process computes its rows: the batch's loss and samples right."""
    rows, counted = distributed.rows(len(indices), compute)
    samples, targets = data.render(indices[rows])
    with compute.autocast(), state.method.head.dropout.of_batch(rows, len(indices)):
        mean, correct = state.method((samples.contiguous(memory_format=torch.channels_last), targets))
    loss, right = mean * (counted / len(indices)), correct.float() * bool(counted)
    state.optimizer.zero_grad()
    loss.backward()
    loss = loss.detach()
    gradients = [weights.grad for weights in state.method.parameters() if weights.grad is not None]
    distributed.add_up([loss, right, *gradients], compute)
    state.optimizer.step()
    return loss, right


def train_epoch(
    state: State,
    data: SurrogateSet,
    order: Int64[Tensor, " n"],
    settings: Settings,
    *,
    compute: Compute,
    progress: Progress,
    checkpoint: Checkpoint | None,
) -> Epoch:
    """Every sample once, in this order, with the learning rate of the moment.

    Nothing waits for the device but the numbers that are shown and checked now and then.
    """
    part, epoch = state.part, len(state.epochs)
    watch = Watch(progress.label, settings.section, settings.learning_rate, epoch + 1)
    signal = torch.zeros((), device=compute.device)
    part.go_on()
    batches = torch.split(order, settings.batch_size)
    for step, indices in list(enumerate(batches))[part.steps :]:
        state.set_rate((epoch + step / len(batches)) / settings.epochs)
        loss, correct = learn(state, data, indices, compute=compute)
        part.add(loss_sum=loss * len(indices), right=correct)
        signal += signal_of(state.method.encoder)
        if step % STEPS_BETWEEN_NUMBERS == 0:
            watch.check_loss(float(part.loss_sum))
            progress.show(loss=float(loss), score=float(correct) / len(indices))
        progress.advance(len(indices))
        if checkpoint and checkpoint.is_due_inside() and part.steps < len(batches):
            watch.check_loss(float(part.loss_sum))
            checkpoint.save(state.content())
    watch.check_loss(float(part.loss_sum))
    watch.check_network(state.method, signal=float(signal))
    return Epoch(
        epoch=epoch + 1,
        loss=float(part.loss_sum) / len(data),
        score=float(part.right) / len(data),
        learning_rate=settings.learning_rate * state.factor,
        samples_per_second=len(data) / part.seconds(),
    )


def same_start(state: State, compute: Compute) -> None:
    """Let every process begin with the weights, momenta and records of process 0, which has the checkpoint."""
    if compute.processes > 1:
        content = BytesIO()
        torch.save(state.content(), content)
        given = distributed.from_first(content.getvalue(), compute)
        state.restore(torch.load(BytesIO(given), map_location="cpu", weights_only=True))


def fit(
    method: Classifier,
    data: SurrogateSet,
    settings: Settings,
    *,
    compute: Compute,
    random_seed: int,
    label: str,
    checkpoint: Path | None = None,
) -> Iterator[Epoch]:
    """Train by SGD with momentum on every sample once an epoch, and yield a record after each.

    With a `checkpoint` that exists the training goes on where it was written, after the records of its epochs are
    yielded again, and ends with the same weights as without the interruption. All processes of a training call it, and
    only process 0 has a checkpoint. Raises UserError when memory is short, or loss, weights or gradients show that
    nothing is learnt.
    """
    with enough_memory(f"{label}: the samples find no room on {compute.device}; set compute.device to 'cpu'"):
        data = data.to(compute.device)
    method.to(compute.device).to(memory_format=torch.channels_last).train()
    state, kept = State(method, settings), Checkpoint(checkpoint) if checkpoint else None
    if kept:
        kept.load(state.restore)
    same_start(state, compute)
    yield from state.epochs
    done = len(state.epochs) * len(data) + state.part.steps * settings.batch_size
    if done and kept:
        say(f"{label}: goes on after {done} samples of an interrupted training")
    with track(total=settings.epochs * len(data), unit="samples", label=label, done=done) as progress:
        for epoch in range(len(state.epochs), settings.epochs):
            # One seed per epoch, for the order and dropout: a resumed training draws what the uninterrupted one drew.
            torch.manual_seed(random_seed * 1_000_003 + epoch)
            order = torch.randperm(len(data)).to(compute.device)
            with enough_memory(smaller_batches(settings.section, settings.batch_size)):
                record = train_epoch(state, data, order, settings, compute=compute, progress=progress, checkpoint=kept)
            state.end_epoch(record)
            if kept and (kept.is_due() or record.epoch == settings.epochs):
                kept.save(state.content())
            yield record


def save_record(epochs: Sequence[Epoch], folder: Path, *, run_id: str) -> None:
    """Write curve.csv, a row per epoch below its head, and the id of the run that made it."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        with (temporary / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [asdict(epoch).values() for epoch in epochs]
            csv.writer(file).writerows([[field.name for field in fields(Epoch)], *rows])
        (temporary / "run.json").write_text(json.dumps({"run_id": run_id}), encoding="utf-8")
