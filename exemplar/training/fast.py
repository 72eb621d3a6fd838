"""The recipe `fast`: the same surrogate task, network and features, learnt from a fraction of the release's samples.

What differs from the release is the optimisation (docs/method.md, docs/log.md): batch normalisation while training,
folded into the convolutions in the end; heads that compare directions and start from a sample of each class; a second
head that reads what the SVM will read, the largest response of every filter of every layer; Muon for the filters; a
learning rate that falls evenly; no dropout.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from exemplar.models.architecture import Architecture
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.training.batchnorm import BatchNorm
from exemplar.training.learner import ClassLearner, Outcome
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.trunk import Trunk, draw_trunk

TEMPERATURE = 0.1
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


class FastClassifier(NormalizedLearner, ClassLearner):
    """A trunk and two cosine heads.

    One head reads the last layer; the other the largest response of each filter in each layer, as the SVM will.
    """

    def __init__(self, trunk: Trunk, classes: int) -> None:
        super().__init__()
        self.trunk, self.chance = trunk, 1 / classes
        widths = [layer.out_channels for layer in trunk.encoder.convolutions()]
        self.heads = [CosineHead(widths[-1], classes), CosineHead(sum(widths), classes)]
        self.cosine_heads = nn.ModuleList(self.heads)

    def read(self, samples: Float[Tensor, "b 3 32 32"]) -> tuple[Float[Tensor, "b last"], Float[Tensor, "b all"]]:
        """What the two heads read."""
        largest = [maps.amax((2, 3)) for maps in self.trunk.layers(self.trunk.seen(samples))]
        return largest[-1], torch.cat(largest, 1)

    def forward(self, batch: Batch) -> Outcome:
        """The mean loss of both heads together, and how many samples the first classifies right."""
        samples, targets = batch
        first, second = self.scores(self.read(samples))
        loss = functional.cross_entropy(first, targets) + functional.cross_entropy(second, targets)
        return Outcome(loss, (first.argmax(1) == targets).sum())

    def scores(self, features: Sequence[Tensor]) -> list[Float[Tensor, "b k"]]:
        """Of each head."""
        return [head(each) for head, each in zip(self.heads, features, strict=True)]

    def rows(self) -> list[tuple[Tensor, float]]:
        """The directions of both heads; they start from samples."""
        return [(head.directions, 0.0) for head in self.heads]

    def answered(self, samples: Float[Tensor, "b 3 32 32"]) -> Int64[Tensor, " b"]:
        """The class with the highest score of the first."""
        scores: Tensor = self.heads[0](self.read(samples)[0])
        return scores.argmax(1)

    def starts(self, samples: Float[Tensor, "b 3 32 32"]) -> list[Float[Tensor, "b _"]]:
        """Directions towards the samples. Random ones take 100,000 samples for that."""
        features = self.read(samples)
        return [head.unit(each.float()) for head, each in zip(self.heads, features, strict=True)]

    @torch.no_grad()
    def begin(self, data: SurrogateSet) -> None:
        """Let every class's directions start from a sample of its first seed."""
        chunks = list(torch.split(data.first_seeds() * data.draws.samples, CLASSES_AT_ONCE))
        if len(chunks) > 1 and len(chunks[-1]) == 1:  # a single sample cannot be normalised over a batch
            chunks[-2:] = [torch.cat(chunks[-2:])]
        for some in chunks:
            samples, targets = data.render(some)
            for head, unit in zip(self.heads, self.starts(samples), strict=True):
                head.directions[targets] = unit


def draw_fast(
    architecture: Architecture, classes: int, *, mean: Float[Tensor, "3 32 32"], generator: torch.Generator
) -> FastClassifier:
    """An untrained network."""
    return FastClassifier(draw_trunk(architecture, mean=mean, generator=generator), classes)
