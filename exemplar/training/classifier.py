"""The release's network and recipe: an encoder with a softmax head, trained by SGD with a multiplier for each layer."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from torch.optim import SGD, Optimizer

from exemplar.models.architecture import Architecture
from exemplar.models.head import Head
from exemplar.models.initial import HEAD_STD, draw_encoder, draw_head
from exemplar.models.network import Encoder
from exemplar.runtime.collective import Share
from exemplar.surrogate.sets import Batch
from exemplar.training import schedule
from exemplar.training.contract import Settings
from exemplar.training.learner import ClassLearner, Outcome


class Classifier(ClassLearner):
    """An encoder with a softmax head: the exemplar method's network, and what fine-tuning trains."""

    draws = True  # dropout, for the whole batch

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.chance = 1 / head.scores.out_channels

    def forward(self, batch: Batch) -> Outcome:
        """Mean negative log-likelihood (paper, equation 4) and the number of samples classified right."""
        samples, targets = batch
        scores = self.scores(self.read(samples))[0]
        loss = functional.cross_entropy(scores.float(), targets)
        return Outcome(loss, (scores.argmax(1) == targets).sum())

    def read(self, samples: Float[Tensor, "b 3 32 32"]) -> Sequence[Tensor]:
        """The last layer."""
        return [self.encoder(samples.contiguous(memory_format=torch.channels_last))]

    def scores(self, features: Sequence[Tensor]) -> list[Float[Tensor, "b k"]]:
        """Behind dropout."""
        return [self.head(features[0]).flatten(1)]

    def rows(self) -> list[tuple[Tensor, float]]:
        """The head's weights, and its biases, which are 0 at the start."""
        weights, biases = self.head.scores.weight, self.head.scores.bias
        assert biases is not None
        return [(weights, HEAD_STD), (biases, 0.0)]

    def answered(self, samples: Float[Tensor, "b 3 32 32"]) -> Int64[Tensor, " b"]:
        """The class with the highest score."""
        scores: Tensor = self.head(self.encoder(samples)).flatten(1)
        return scores.argmax(1)

    def first_layers(self) -> list[Tensor]:
        """The encoder's."""
        return [self.encoder.convolutions()[0].weight]

    def sharing(self, share: Share) -> AbstractContextManager[None]:
        """Dropout draws its mask for the whole batch."""
        return self.head.dropout.of_batch(share.rows, share.whole)

    def optimizer(self, settings: Settings) -> Optimizer:
        """SGD with momentum, and the release's multipliers (docs/method.md)."""
        groups = schedule.parameter_groups(
            self.encoder, self.head, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
        )
        return sgd(groups, momentum=settings.momentum)

    def rate_factor(self, progress: float) -> float:
        """The release's steps."""
        return schedule.rate_factor(progress)

    def finish(self) -> Encoder:
        """The encoder as it is."""
        return self.encoder


def sgd(groups: list[dict[str, Any]], *, momentum: float) -> SGD:
    """SGD with momentum, each group with its `lr`; on a GPU one launch for each, which reads a rate that lies there."""
    fused = all(weights.is_cuda for group in groups for weights in group["params"])
    return SGD(groups, momentum=momentum, fused=True if fused else None)


def draw_classifier(
    architecture: Architecture, classes: int, *, mean: Float[Tensor, "3 32 32"], generator: torch.Generator
) -> Classifier:
    """An untrained network, its weights drawn as in the release."""
    encoder = draw_encoder(architecture, mean=mean, generator=generator)
    return Classifier(encoder, draw_head(encoder.width, classes, generator=generator))
