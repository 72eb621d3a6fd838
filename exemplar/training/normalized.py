"""Networks that are normalised over a batch: what the recipe `fast` and every pretext task have in common."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from exemplar.models.network import Encoder
from exemplar.runtime.collective import Share
from exemplar.training.batchnorm import BatchNorm
from exemplar.training.contract import Settings
from exemplar.training.learner import Learner
from exemplar.training.muon import Muon
from exemplar.training.trunk import Trunk

WARM_UP = 0.05  # of the training
# Of the setting learning_rate: the length of a filter's step relative to the filter's own.
FILTER_RATE = 0.2
FILTER_MOMENTUM = 0.95
SCORES_SPREAD = 0.1


class Hidden(nn.Module):
    """A layer of a head: convolution without bias, batch normalisation, rectifier; drawn as He et al. (2015) do."""

    def __init__(self, inputs: int, outputs: int, *, side: int = 1, generator: torch.Generator) -> None:
        super().__init__()
        spread = math.sqrt(2 / (inputs * side * side))
        self.weight = nn.Parameter(torch.empty(outputs, inputs, side, side).normal_(0, spread, generator=generator))
        self.norm = BatchNorm(outputs, learns_bias=True)

    def forward(self, maps: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """Maps of the same size."""
        return functional.relu(self.norm(functional.conv2d(maps, self.weight, padding=self.weight.shape[2] // 2)))


class Scores(nn.Module):
    """The last layer of a head: linear, its weights so small at the start that all answers are about the same."""

    def __init__(self, inputs: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        spread = SCORES_SPREAD / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).normal_(0, spread, generator=generator))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        """Scores in float32."""
        return functional.linear(features, self.weight, self.bias).float()


class NormalizedLearner(Learner):
    """Filters take Muon's steps, whose length is fixed; biases and last layers Nesterov's, and last layers decay."""

    trunk: Trunk

    def trunks(self) -> list[Trunk]:
        """The networks that become the encoder: one, unless a task says otherwise."""
        return [self.trunk]

    def finish(self) -> Encoder:
        """The trunk's encoder, with normalisation and colours folded in."""
        return self.trunk.plain()

    def first_layers(self) -> list[Tensor]:
        """The first weights of each trunk."""
        return [trunk.encoder.convolutions()[0].weight for trunk in self.trunks()]

    @contextmanager
    def sharing(self, share: Share) -> Iterator[None]:
        """Batch normalisation takes mean and variance of the whole batch."""
        norms = [module for module in self.modules() if isinstance(module, BatchNorm)]
        for norm in norms:
            norm.share = share
        try:
            yield
        finally:
            for norm in norms:
                norm.share = None

    def optimizer(self, settings: Settings) -> Optimizer:
        """Three groups: filters and hidden layers, biases, last layers."""
        filters: list[Tensor] = [layer.weight for trunk in self.trunks() for layer in trunk.encoder.convolutions()]
        filters += [module.weight for module in self.modules() if isinstance(module, Hidden)]
        known = {id(weights) for weights in filters}
        others = [weights for weights in self.parameters() if weights.requires_grad and id(weights) not in known]
        rate, momentum = settings.learning_rate, settings.momentum
        return Muon(
            [
                {"params": filters, "lr": FILTER_RATE * rate, "momentum": FILTER_MOMENTUM, "orthogonal": True},
                {"params": [weights for weights in others if weights.ndim == 1], "lr": rate},
                {
                    "params": [weights for weights in others if weights.ndim > 1],
                    "lr": rate,
                    "weight_decay": settings.weight_decay,
                },
            ],
            momentum=momentum,
        )

    def rate_factor(self, progress: float) -> float:
        """Evenly up from 0 over the first twentieth, then evenly down to 0; the first step changes no weight."""
        return min(1.0, progress / WARM_UP, (1 - progress) / (1 - WARM_UP))
