"""All that a training goes on from: settings, network, optimizer, records, and what a begun epoch has done."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from exemplar.models.architecture import Architecture
from exemplar.models.head import Head
from exemplar.models.network import Encoder
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.schedule import parameter_groups, rate_factor


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
class TrainInputs:
    """What a method gets, to make an encoder from.

    `mean` is the per-pixel mean of all samples (0..1). A training goes on from the file `checkpoint` where it exists.
    """

    architecture: Architecture
    surrogate: SurrogateSet
    mean: Float[Tensor, "3 32 32"]
    settings: Settings
    random_seed: int
    compute: Compute
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured: mean loss, share of samples classified right, and the rate of work."""

    epoch: int
    loss: float
    accuracy: float
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


class EpochProgress:
    """Progress inside an epoch: batches done, their sums and time, the random generators' states at the last save."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.steps = device, 0
        self.loss_sum, self.right = torch.zeros((), device=device), torch.zeros((), device=device)
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.rng_states: list[Tensor] = []

    def restore_rng(self) -> None:
        """Start the clock, and draw on from the states of the random generators that were restored."""
        self.started = time.monotonic()
        if self.rng_states:
            torch.set_rng_state(self.rng_states[0])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(self.rng_states[1], self.device)

    def add(self, *, loss_sum: Tensor, right: Tensor) -> None:
        """Count a batch."""
        self.steps += 1
        self.loss_sum += loss_sum
        self.right += right

    def seconds(self) -> float:
        """The time that went into it, in this process and in those before."""
        return self.seconds_before + time.monotonic() - self.started

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a state."""
        on_cuda = self.device.type == "cuda"
        rng_states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if on_cuda else [])]
        sums = {"loss_sum": self.loss_sum, "right": self.right}
        return {**sums, "steps": self.steps, "seconds": self.seconds(), "rng_states": rng_states}

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; call `restore_rng` before anything is drawn."""
        self.loss_sum, self.right = (content[name].to(self.device) for name in ("loss_sum", "right"))
        self.steps, self.seconds_before = content["steps"], content["seconds"]
        self.rng_states = content["rng_states"] if self.steps else []


class TrainState:
    """All that goes on from one step to the next; saved whole."""

    def __init__(self, model: Classifier, settings: Settings) -> None:
        rate, decay = settings.learning_rate, settings.weight_decay
        groups = parameter_groups(model.encoder, model.head, learning_rate=rate, weight_decay=decay)
        self.model, self.optimizer = model, torch.optim.SGD(groups, momentum=settings.momentum)
        self.epochs: list[Epoch] = []
        self.progress = EpochProgress(next(model.parameters()).device)
        self.rates, self.factor = [group["lr"] for group in groups], 1.0

    def set_rate(self, progress: float) -> None:
        """Set every group's learning rate for this share of the whole training."""
        self.factor = rate_factor(progress)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.factor

    def end_epoch(self, record: Epoch) -> None:
        """Keep the record; the next epoch begins with nothing done."""
        self.epochs.append(record)
        self.progress = EpochProgress(self.progress.device)

    def state_dict(self) -> dict[str, Any]:
        """Weights, momenta, records and the begun epoch."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "part": self.progress.state_dict(),
        }

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.progress.load_state_dict(content["part"])
        self.epochs[:] = [Epoch(**epoch) for epoch in content["epochs"]]
