"""What tasks on several patches of one picture share: each goes through the same trunk, and one head sees them all."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from exemplar.surrogate.patches import Patches, Rows, greyed, over_rows
from exemplar.training.learner import Outcome
from exemplar.training.normalized import Hidden, NormalizedLearner, Scores
from exemplar.training.trunk import Trunk

FLAT = 1 / 255  # a patch with a smaller standard deviation has nothing but rounding errors to show
PIXELS = (-3, -2, -1)  # and channels


def levelled(
    patches: Float[Tensor, "... 3 h w"], *, mean: Tensor | float, spread: Tensor | float
) -> Float[Tensor, "... 3 h w"]:
    """Every patch with this mean and standard deviation over its pixels and channels; flat ones stay flat."""
    centred = patches - patches.mean(PIXELS, keepdim=True)
    own = centred.square().mean(PIXELS, keepdim=True).sqrt()
    return mean + centred * (spread / own.clamp_min(FLAT))


def mean_spread(data: Patches) -> float:
    """The standard deviation of pixels inside a patch: the root of its mean square over the first rows."""
    return float(over_rows(data, lambda rows: rows[0].var(PIXELS, correction=0).flatten()).mean().sqrt())


class Joined(nn.Module):
    """A head that reads the vectors of all patches side by side: hidden layers, then scores."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        self.hidden = nn.Sequential(*(Hidden(*pair, generator=generator) for pair in pairwise(widths)))
        self.scores = Scores(widths[-1], outputs, generator=generator)

    def forward(self, vectors: Float[Tensor, "n p d"]) -> Float[Tensor, "n o"]:
        """A row of scores for every group of patches."""
        scores: Tensor = self.scores(self.hidden(vectors.flatten(1)[:, :, None, None]).flatten(1))
        return scores


def strangers(vectors: Float[Tensor, "b p d"]) -> Float[Tensor, "b p d"]:
    """Vectors of the same places, those of a row from p rows: all that they still tell is where in images they lie.

    In a batch of fewer than p rows some of them belong together.
    """
    row, place = (torch.arange(size, device=vectors.device) for size in vectors.shape[:2])
    return vectors[(row[:, None] + place) % len(vectors), place]


def right(scores: Float[Tensor, "b a c"], targets: Int64[Tensor, "b a"]) -> Float[Tensor, ""]:
    """The sum over rows of the share of right answers."""
    return (scores.argmax(2) == targets).float().mean(1).sum()


class Siamese(NormalizedLearner):
    """A trunk that all patches of a row go through, each of them levelled to `spread`, and in some rows all grey.

    Light and contrast hardly change from a patch to its neighbour, and colour fringes at edges tell how far the middle
    of the photograph is: none of them needs an understanding of what is seen.
    """

    def __init__(self, trunk: Trunk, *, spread: float) -> None:
        super().__init__()
        self.trunk, self.spread = trunk, spread

    def seen(self, batch: Rows) -> Float[Tensor, "b p 3 32 32"]:
        """The patches as the trunk gets them."""
        patches = greyed(batch[0], batch[1]["grey"])
        return levelled(patches, mean=self.trunk.encoder.mean.mean(), spread=self.spread)

    def vectors(self, batch: Rows) -> Float[Tensor, "b p d"]:
        """The last layer's vector of every patch."""
        patches = self.seen(batch)
        vectors: Tensor = self.trunk(patches.flatten(0, 1))
        return vectors.view(len(patches), -1, vectors.shape[1])

    @abstractmethod
    def answered(self, vectors: Float[Tensor, "b p d"], columns: Mapping[str, Tensor]) -> Float[Tensor, "b a c"]:
        """Scores of the c answers to each of a questions about a row."""

    @abstractmethod
    def targets(self, columns: Mapping[str, Tensor]) -> Int64[Tensor, "b a"]:
        """The right answers."""

    def forward(self, batch: Rows) -> Outcome:
        """Cross-entropy over all questions, and the share of those about a row that are answered right.

        On rows that are not trained on, the number `absolute_place_score` is the score where the patches of a row come
        from different images: a batch is then the same for every process.
        """
        vectors, columns = self.vectors(batch), batch[1]
        targets, scores = self.targets(columns), self.answered(vectors, columns)
        loss = functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
        sums = {}
        if not self.training:
            sums["absolute_place_score"] = right(self.answered(strangers(vectors), columns), targets)
        return Outcome(loss, right(scores, targets), sums)
