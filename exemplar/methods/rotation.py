"""Rotation: by which of four quarter turns was a picture turned (Gidaris, Singh and Komodakis, ICLR 2018).

The network sees all four copies of a square, and a linear layer on its last layer answers. Turning by a right angle
leaves no trace of resampling, so that no other defence is needed. Half of the squares are large, because an upright
object has to be seen to be recognised; the others show the detail that the probe's images have.

Expected: 89.1 % on CIFAR-10 with a classifier trained on all labels above the second block of a larger network.
Measured: 61.1, 60.9, 60.3 % on `cifar10_400` after 256,000 encoder passes (random seeds 0 to 2), random filters
54.0, 54.4, 54.4 (docs/log.md).
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.params.schema import Section
from exemplar.surrogate.patches import SEED_SIDES, Patches, Rows, between, places, whole_numbers
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.learner import Outcome
from exemplar.training.normalized import NormalizedLearner, Scores
from exemplar.training.pictures import in_columns
from exemplar.training.task import fit_task
from exemplar.training.trunk import Trunk, draw_trunk

PASSES = TURNS = 4


class Options(Section):
    """`large_share`: the share of squares that are between half as wide as the image and as wide as it."""

    large_share: float = Field(ge=0, le=1)


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Patches:
    """A square anywhere, as it is or mirrored."""
    most = float(min(images.shape[2:]))
    large = torch.rand(count, generator=generator) < options.large_share
    side = torch.where(
        large,
        between(most / 2, most, count, generator),
        between(min(SEED_SIDES[0], most), min(SEED_SIDES[1], most), count, generator),
    )
    return Patches(
        images=torch.from_numpy(images),
        image=whole_numbers(len(images), count, generator)[:, None],
        centre=places(side, (images.shape[3], images.shape[2]), generator)[:, None],
        side=side[:, None],
        columns={"mirrored": whole_numbers(2, count, generator)},
    )


def turned(patches: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "n 3 s s"]:
    """Every patch as it is, then all of them by one, two and three quarter turns."""
    return torch.cat([patches.rot90(turns, (2, 3)) for turns in range(TURNS)])


def turned_by(patches: Float[Tensor, "b 3 s s"], turns: list[int]) -> Float[Tensor, "b 3 s s"]:
    """Every patch by so many quarter turns."""
    return torch.stack([patch.rot90(each, (1, 2)) for patch, each in zip(patches, turns, strict=True)])


class Rotation(NormalizedLearner):
    """A trunk and a linear layer with four scores."""

    chance = 1 / TURNS

    def __init__(self, trunk: Trunk, *, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk, self.scores = trunk, Scores(trunk.encoder.width, TURNS, generator=generator)

    def forward(self, batch: Rows) -> Outcome:
        """Cross-entropy over the four copies of each patch, and the share of copies answered right."""
        patches = turned(batch[0][:, 0])
        targets = torch.arange(TURNS, device=patches.device).repeat_interleave(len(batch[0]))
        scores = self.scores(self.trunk(patches))
        return Outcome(functional.cross_entropy(scores, targets), (scores.argmax(1) == targets).sum() / TURNS)

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """Squares that are turned, and turned back as the network answers."""
        asked = [row % TURNS for row in range(len(batch[0]))]
        seen = turned_by(batch[0][:, 0], asked)
        answers = self.scores(self.trunk(seen)).argmax(1).tolist()
        columns = {"shown": seen, "the answer": turned_by(seen, [-turns for turns in answers])}
        words = [f"turned {90 * turns}°" for turns in asked]
        return in_columns(name, columns, {"shown": words, "the answer": [f"back {90 * turns}°" for turns in answers]})


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> Rotation:
    """An untrained network."""
    return Rotation(draw_trunk(architecture, mean=mean, generator=generator), generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on squares of the unlabeled images."""
    return fit_task(inputs, name="rotation", draw=draw, build=build, passes=PASSES)
