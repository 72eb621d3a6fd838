"""The recipe `fast`: the same surrogate task, network and features, learnt from a fraction of the release's samples.

What differs from the release is the optimisation (docs/method.md, docs/log.md): batch normalisation while training,
folded into the convolutions in the end; heads that compare directions and start from a sample of each class; a second
head that reads what the SVM will read, the largest response of every filter of every layer; Muon for the filters; a
learning rate that falls evenly; no dropout.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from exemplar.models.architecture import Architecture
from exemplar.models.network import Encoder
from exemplar.runtime.collective import Share
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.batchnorm import BatchNorm, folded
from exemplar.training.contract import Settings
from exemplar.training.learner import Batch, Learner
from exemplar.training.muon import Muon

TEMPERATURE = 0.1
WARM_UP = 0.05  # of the training
# Of the setting learning_rate: the length of a filter's step relative to the filter's own.
FILTER_RATE = 0.2
FILTER_MOMENTUM = 0.95
CLASSES_AT_ONCE = 128


class CosineHead(nn.Module):
    """Features -> for each class the cosine between them and the class's own direction, over the temperature."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm(width, learns_bias=False)
        self.directions = nn.Parameter(torch.zeros(classes, width))

    def unit(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Features of length 1, after every one has the same spread."""
        return functional.normalize(self.norm(features[:, :, None, None]).flatten(1).float(), dim=1)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Scores before the softmax."""
        return (
            functional.linear(self.unit(features), functional.normalize(self.directions, dim=1)).float() / TEMPERATURE
        )


class FastClassifier(Learner):
    """An encoder with batch normalisation behind each layer's pooling, and two cosine heads.

    One head reads the last layer; the other the largest response of each filter in each layer, as the SVM will.
    """

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        widths = [layer.out_channels for layer in encoder.convolutions()]
        self.norms = [BatchNorm(width, learns_bias=True) for width in widths]
        self.heads = [CosineHead(widths[-1], classes), CosineHead(sum(widths), classes)]
        self.normalisations, self.cosine_heads = nn.ModuleList(self.norms), nn.ModuleList(self.heads)
        for layer in encoder.convolutions():
            assert layer.bias is not None
            layer.bias.requires_grad_(False)  # batch normalisation takes every constant away

    def read(self, samples: Float[Tensor, "b 3 32 32"]) -> tuple[Float[Tensor, "b last"], Float[Tensor, "b all"]]:
        """What the two heads read."""
        signal, largest = self.encoder.centred(samples), []
        for index, (layer, norm) in enumerate(zip(self.encoder.convolutions(), self.norms, strict=True)):
            maps = functional.conv2d(signal, layer.weight, None, layer.stride, layer.padding)
            signal = functional.relu(norm(self.encoder.pooled(maps, index)))
            largest.append(signal.amax((2, 3)))
        return largest[-1], torch.cat(largest, 1)

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Int64[Tensor, ""]]:
        """The mean loss of both heads together, and how many samples the first classifies right."""
        samples, targets = batch
        first, second = (head(features) for head, features in zip(self.heads, self.read(samples), strict=True))
        loss = functional.cross_entropy(first, targets) + functional.cross_entropy(second, targets)
        return loss, (first.argmax(1) == targets).sum()

    @torch.no_grad()
    def begin(self, data: SurrogateSet) -> None:
        """Point each class's direction at one of its samples. Random directions need 100,000 samples to come so far."""
        count, samples_each = data.table.shape[:2]
        chunks = list(torch.split(torch.arange(count, device=data.table.device), CLASSES_AT_ONCE))
        if count > 1 and len(chunks[-1]) == 1:  # a single sample cannot be normalised over a batch
            chunks[-2:] = [torch.cat(chunks[-2:])]
        for some in chunks:
            samples, targets = data.render(some * samples_each)
            for head, features in zip(self.heads, self.read(samples), strict=True):
                head.directions[targets] = head.unit(features.float())

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
        """Muon for the filters, whose length is fixed; SGD with Nesterov's momentum for biases and heads."""
        rate, momentum = settings.learning_rate, settings.momentum
        filters = [layer.weight for layer in self.encoder.convolutions()]
        biases = [norm.bias for norm in self.norms]
        heads = [head.directions for head in self.heads]
        return Muon(
            [
                {"params": filters, "lr": FILTER_RATE * rate, "momentum": FILTER_MOMENTUM, "orthogonal": True},
                {"params": biases, "lr": rate},
                {"params": heads, "lr": rate, "weight_decay": settings.weight_decay},
            ],
            momentum=momentum,
        )

    def rate_factor(self, progress: float) -> float:
        """Evenly up from 0 over the first twentieth, then evenly down to 0; the first step changes no weight."""
        return min(1.0, progress / WARM_UP, (1 - progress) / (1 - WARM_UP))

    def finish(self) -> Encoder:
        """A plain encoder: each layer with its batch normalisation folded in."""
        plain = Encoder(self.encoder.architecture, mean=self.encoder.mean.cpu())
        for layer, trained, norm in zip(plain.convolutions(), self.encoder.convolutions(), self.norms, strict=True):
            weights, biases = folded(trained.weight, norm)
            layer.load_state_dict({"weight": weights, "bias": biases})
        return plain


def draw_fast(
    architecture: Architecture, classes: int, *, mean: Float[Tensor, "3 32 32"], generator: torch.Generator
) -> FastClassifier:
    """An untrained network, its filters drawn as He et al. (2015) do."""
    encoder = Encoder(architecture, mean=mean)
    with torch.no_grad():
        for layer in encoder.convolutions():
            layer.weight.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=generator)
            assert layer.bias is not None
            layer.bias.zero_()
    return FastClassifier(encoder, classes)
