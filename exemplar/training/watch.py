"""Trainings that cannot go well any more, told in one line with the setting to look at."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from exemplar.errors import UserError
from exemplar.training.contract import FEWEST_ROWS, Settings
from exemplar.training.learner import Learner

ROWS_AT_ONCE = 8192


def nonzero_gradients(learner: Learner) -> Int64[Tensor, ""]:
    """How many weights of the first layer have a gradient, for which every layer above must let something through.

    Also while nothing is learnt yet, as at the start, no gradient is exactly 0; behind a layer whose rectifiers are all
    shut, or with a head whose weights are all 0, all of them are, and stay so. Of several networks the worst counts.
    """
    counts = []
    for weights in learner.first_layers():
        assert isinstance(weights.grad, Tensor)
        counts.append(weights.grad.count_nonzero())
    return torch.stack(counts).amin()


class DivergedError(UserError):
    """A training that learns nothing any more."""


@dataclass(frozen=True)
class DivergenceCheck:
    """Looks at one epoch of a training, whose learning rate is that of this section of params.yaml."""

    label: str
    section: str
    learning_rate: float
    epoch: int

    def stop(self, finding: str) -> DivergedError:
        """What is found, where, and what to do."""
        return DivergedError(
            f"{self.label}: {finding} in epoch {self.epoch} with learning_rate {self.learning_rate}; "
            f"lower {self.section}.learning_rate in params.yaml"
        )

    def check_loss(self, loss: float) -> None:
        """Raise DivergedError where the loss is no number; one that was none at any step makes the epoch's sum none."""
        if not math.isfinite(loss):
            raise self.stop(f"the loss is {loss}")

    def check_network(self, method: nn.Module, *, signal: float) -> None:
        """Raise DivergedError where a weight is no number, or no gradient reached the first layer all epoch."""
        for name, weights in (*method.named_parameters(), *method.named_buffers()):
            parts = torch.split(weights, ROWS_AT_ONCE) if weights.ndim else [weights]  # all at once take memory
            if not all(bool(part.isfinite().all()) for part in parts):
                raise self.stop(f"a weight of {name} is not finite")
        if not signal:
            raise self.stop("no gradient reached the first layer, so every image gets the same scores,")


def smaller_batches(settings: Settings) -> str:
    """What to do where memory does not suffice for a step, with the number that params.yaml has."""
    stated, fewest = settings.stated_batch or settings.batch_size, FEWEST_ROWS if settings.stated_batch else 1
    key = f"{settings.section.partition('.')[0]}.batch_size"
    if settings.batch_size <= fewest:
        return f"{key} {stated} gives the smallest steps there are; choose a smaller model"
    return f"lower {key} from {stated} to {stated // 2}"
