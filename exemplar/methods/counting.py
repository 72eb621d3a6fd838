"""Counting: what is in a picture is what is in its four tiles together (Noroozi, Pirsiavash and Favaro, ICCV 2017).

A head gives numbers of at least 0. Those of a square shrunk by two must equal the sum of those of its four tiles, and
those of a square of another image must not: squared distances, the second in a hinge, without which numbers that are
all 0 would do. Shortcuts: the way of shrinking shows in the pixels, so each row draws one of four for both squares;
colour fringes differ between the middle and the border of a photograph, so most rows are grey. In images narrower than
57 pixels the tiles are enlarged, which gives them away: the task is weak there. Deviations: the numbers are normalised
over a batch like all layers here, and are scaled once so that the mean distance to the partner is the margin. The head
costs 33,000 multiplications. Of the paper's 1,000 numbers 30 are ever above 0.
Measured: 52.2 % on `cifar10_400` after 256,000 encoder passes, random filters 54.0 (docs/log.md).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.params.schema import Section
from exemplar.surrogate.patches import Patches, Rows, between, greyed, places, whole_numbers
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.learner import Outcome
from exemplar.training.normalized import Hidden, NormalizedLearner
from exemplar.training.pictures import in_columns, mosaic
from exemplar.training.task import fit_task
from exemplar.training.trunk import Trunk, draw_trunk

PASSES, TILES, WHOLE = 6, 4, 2 * PATCH_PIXELS
SIDES = (57.0, 80.0)  # pixels: tiles are as wide as narrow seeds
WAYS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
START_ROWS = 64


class Options(Section):
    """`units`: how many things are counted; `grey_share`: the share of rows without colour."""

    units: int = Field(ge=1, le=4096)
    grey_share: float = Field(ge=0, le=1)


@cache
def shrinking(device: torch.device) -> Float[Tensor, "ways 32 64"]:
    """Pillow's ways to halve a picture, as matrices for its columns and rows."""
    every = Image.fromarray(np.eye(WHOLE, dtype=np.float32))
    halved = [np.asarray(every.resize((WHOLE, PATCH_PIXELS), way)) for way in WAYS]
    return torch.from_numpy(np.stack(halved)).to(device)


def tiles(picture: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 4 3 32 32"]:
    """Its quarters, row by row."""
    return picture.reshape(-1, 3, 2, PATCH_PIXELS, 2, PATCH_PIXELS).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


@dataclass(frozen=True)
class Views(Patches):
    """Two squares a row, of different images, seen as six patches."""

    def render(self, indices: Int64[Tensor, " b"]) -> Rows:
        """The four tiles of the first square, that square shrunk by two, and the second shrunk in the same way."""
        columns = {name: values[indices] for name, values in self.columns.items()}
        squares = self.squares(indices, WHOLE)
        halving = shrinking(indices.device)[columns["way"]][:, None, None]
        shrunk = (halving @ squares @ halving.mT).clamp(0, 1)
        views = torch.cat([tiles(squares[:, 0]), shrunk], 1)
        return greyed(views, columns["grey"]), columns


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Views:
    """A square anywhere in one image and another in another, unless there is only one."""
    most, size = float(min(images.shape[2:])), (images.shape[3], images.shape[2])
    first = whole_numbers(len(images), count, generator)
    second = (first + 1 + whole_numbers(max(len(images) - 1, 1), count, generator)) % len(images)
    way = whole_numbers(len(WAYS), count, generator)
    sides = [between(min(SIDES[0], most), min(SIDES[1], most), count, generator) for _ in range(2)]
    return Views(
        images=torch.from_numpy(images),
        image=torch.stack([first, second], 1),
        centre=torch.stack([places(side, size, generator) for side in sides], 1),
        side=torch.stack(sides, 1),
        columns={"way": way, "grey": torch.rand(count, generator=generator) < options.grey_share},
    )


class Counting(NormalizedLearner):
    """A trunk and a head with one hidden layer, whose numbers are at least 0."""

    chance = 0.0  # of the same numbers for every patch
    scale: Tensor

    def __init__(self, trunk: Trunk, units: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk, width = trunk, trunk.encoder.width
        self.hidden = Hidden(width, width, generator=generator)
        self.units = Hidden(width, units, generator=generator)
        self.register_buffer("scale", torch.ones(()))

    def counts(self, views: Float[Tensor, "b 6 3 32 32"]) -> Float[Tensor, "b 6 k"]:
        """What is counted in each patch."""
        vectors = self.trunk(views.flatten(0, 1))[:, :, None, None]
        counts: Tensor = self.units(self.hidden(vectors)).float() * self.scale
        return counts.view(*views.shape[:2], -1)

    @torch.no_grad()
    def begin(self, data: Views) -> None:
        """Scale the numbers so that the mean squared distance to a partner is 1, the margin."""
        views, _ = data.render(torch.arange(min(len(data), START_ROWS), device=data.image.device))
        self.scale.div_(distances(self.counts(views))[1].mean().sqrt())

    def forward(self, batch: Rows) -> Outcome:
        """The mean loss, the rows whose own square is nearer than their partner, and the share of numbers above 0."""
        counts = self.counts(batch[0])
        own, other = distances(counts)
        live = (counts[:, TILES] > 0).float().mean(1).sum()
        return Outcome((own + functional.relu(1 - other)).mean(), (own < other).sum(), {"live_units": live})

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """Four tiles, and how far from the sum of their numbers those of their own picture and of another one are."""
        own, other = ([f"{number:.2f} away" for number in each.tolist()] for each in distances(self.counts(batch[0])))
        views = batch[0]
        columns = {"four tiles": mosaic(views[:, :TILES]), "whole": views[:, TILES], "another": views[:, TILES + 1]}
        return in_columns(name, columns, {"whole": own, "another": other})


def distances(counts: Float[Tensor, "b 6 k"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Squared, from the sum of the tiles to the square that they are of, and to the partner."""
    total = counts[:, :TILES].sum(1, keepdim=True)
    squared = (counts[:, TILES:] - total).square().sum(2)
    return squared[:, 0], squared[:, 1]


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> Counting:
    """An untrained network."""
    return Counting(draw_trunk(architecture, mean=mean, generator=generator), options.units, generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on squares of the unlabeled images, in pairs."""
    return fit_task(inputs, name="counting", draw=draw, build=build, passes=PASSES)
