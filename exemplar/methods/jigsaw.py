"""Jigsaw: in which order do the tiles of a picture lie (Noroozi and Favaro, "Unsupervised Learning of Visual
Representations by Solving Jigsaw Puzzles", ECCV 2016).

A square is cut into 3 x 3 cells, or 2 x 2 where the images are small, and a tile out of each cell. A head reads the
vectors of all tiles in a permuted order, and says by which one of a few permutations, which differ in most places.
Defences: a tile lies anywhere in its cell, so that lines do not go on from one to the next; every tile has the same
mean and contrast, without which the paper's features lose most; a share of the puzzles is grey, because colour fringes
tell where in a photograph a tile lies. In the curve, `held_out_absolute_place_score` is the score where the
tiles of a puzzle come from different images: what is above chance there was read from single tiles.

Deviations: the paper moves colour channels against each other, here only grey puzzles hide the fringes; its AlexNet
joins 9 x 1024 numbers before a layer of 4096, here the encoder's last layer is joined before one of 128, because a step
of Muon costs the square of it; several permutations of the same vectors are answered (Kolesnikov, Zhai and Beyer, CVPR
2019), which costs next to nothing: one puzzle of 3 x 3 costs nine passes, and the head 0.2 % of them.

Expected: with frozen features of AlexNet's layer conv3, 34.7 % on ImageNet, where random filters have 16.9 and
relative location 30.2 (Zhang, Isola and Efros, CVPR 2017, Table 2).
Measured: 53.6 % on `cifar10_400` after 256,000 encoder passes, random filters 54.0 (docs/log.md).
"""

from collections.abc import Mapping
from itertools import permutations
from math import factorial

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import Field
from torch import Tensor

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.params.schema import Section
from exemplar.surrogate.patches import SEED_SIDES, Patches, Rows, between, places, whole_numbers
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.pictures import in_columns, mosaic
from exemplar.training.siamese import Joined, Siamese, mean_spread
from exemplar.training.task import fit_task, require_side
from exemplar.training.trunk import Trunk, draw_trunk

SMALLEST_IMAGE, NINE_TILES = 24, 72  # pixels: the sides that 2 x 2 tiles need, and 3 x 3
TILE = 0.75  # of its cell; the paper cuts 64 of 75 pixels, its code 64 of 85
SMALLEST_TILE = 0.75  # of the largest, where they are not
HIDDEN = 128


class Options(Section):
    """`puzzles` permutations of the tiles of each square, out of so many; a `grey_share` of squares has no colour."""

    permutations_2x2: int = Field(ge=2, le=factorial(4) - 1, strict=True)
    permutations_3x3: int = Field(ge=2, le=10_000, strict=True)
    puzzles: int = Field(ge=1, le=100, strict=True)
    grey_share: float = Field(ge=0, le=1)

    def permutations(self, tiles: int) -> int:
        """How many there are of so many tiles."""
        return self.permutations_2x2 if tiles == 4 else self.permutations_3x3


def passes(images: UInt8[np.ndarray, "m 3 h w"]) -> int:
    """The tiles of a puzzle: 9, or 4 where a third of an image is too narrow. Raises UserError for smaller images."""
    require_side(images, SMALLEST_IMAGE, name="jigsaw", what="2 x 2 tiles")
    return 9 if min(images.shape[2:]) >= NINE_TILES else 4


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Patches:
    """The tiles of a square anywhere in an image, row by row, anywhere in their cells, and numbers of permutations."""
    tiles = passes(images)
    across, size = round(tiles**0.5), images.shape[2:]
    widest = min(TILE * min(size) / across, SEED_SIDES[1])
    side = between(min(SEED_SIDES[0], SMALLEST_TILE * widest), widest, count, generator)
    cell = side / TILE
    middle = places(across * cell, (size[1], size[0]), generator)
    steps = torch.arange(across) - (across - 1) / 2
    grid = torch.cartesian_prod(steps, steps).flip(1)  # as (x, y)
    shift = (cell - side)[:, None, None] * (torch.rand(count, tiles, 2, generator=generator) - 0.5)
    number = torch.randint(options.permutations(tiles), (count, options.puzzles), generator=generator)
    return Patches(
        images=torch.from_numpy(images),
        image=whole_numbers(len(images), count, generator)[:, None].expand(-1, tiles),
        centre=middle[:, None] + cell[:, None, None] * grid + shift,
        side=side[:, None].expand(-1, tiles),
        columns={"permutation": number, "grey": torch.rand(count, generator=generator) < options.grey_share},
    )


def far_apart(tiles: int, count: int, generator: torch.Generator) -> Int64[Tensor, "count tiles"]:
    """Permutations: any, and then always one that differs in most places from those before it, on average."""
    every = torch.tensor(list(permutations(range(tiles))), dtype=torch.int8)[1:]  # the first changes nothing
    every = every[torch.randperm(len(every), generator=generator)]
    distance, chosen = torch.zeros(len(every)), [0]
    while len(chosen) < count:
        distance += (every != every[chosen[-1]]).sum(1)
        distance[chosen[-1]] = -torch.inf
        chosen.append(int(distance.argmax()))
    return every[chosen].long()


def permuted(vectors: Float[Tensor, "b p *d"], order: Int64[Tensor, "b k p"]) -> Float[Tensor, "b k p *d"]:
    """Every row's vectors, or tiles, in each of its orders."""
    return vectors[torch.arange(len(vectors), device=vectors.device)[:, None, None], order]


class Jigsaw(Siamese):
    """A trunk for the tiles, and a head that scores permutations."""

    permutations: Tensor

    def __init__(
        self, trunk: Trunk, permutations: Int64[Tensor, "n p"], *, spread: float, generator: torch.Generator
    ) -> None:
        super().__init__(trunk, spread=spread)
        inputs = permutations.shape[1] * trunk.encoder.width
        self.head = Joined(inputs, (HIDDEN,), len(permutations), generator=generator)
        self.chance = 1 / len(permutations)
        self.register_buffer("permutations", permutations)

    def answered(self, vectors: Float[Tensor, "b p d"], columns: Mapping[str, Tensor]) -> Float[Tensor, "b k n"]:
        """Scores of all permutations for the tiles in the order of each of a row's."""
        scores: Tensor = self.head(permuted(vectors, self.permutations[columns["permutation"]]).flatten(0, 1))
        return scores.view(len(vectors), -1, len(self.permutations))

    def targets(self, columns: Mapping[str, Tensor]) -> Int64[Tensor, "b k"]:
        """The numbers of the permutations."""
        return columns["permutation"]

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """The first puzzle of each row, and its tiles where the network puts them."""
        tiles, order = self.seen(batch), self.permutations[batch[1]["permutation"][:, 0]]
        answers = self.permutations[self.answered(self.vectors(batch), batch[1])[:, 0].argmax(1)]
        puzzles = permuted(tiles, order[:, None])[:, 0]
        placed = permuted(puzzles, answers.argsort(1)[:, None])[:, 0]
        right = [f"{count} of {tiles.shape[1]} right" for count in (answers == order).sum(1).tolist()]
        columns = {"shown": mosaic(puzzles), "the answer": mosaic(placed), "the picture": mosaic(tiles)}
        return in_columns(name, columns, {"the answer": right})


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> Jigsaw:
    """An untrained network, and the permutations."""
    trunk, tiles = draw_trunk(architecture, mean=mean, generator=generator), data.image.shape[1]
    permutations = far_apart(tiles, options.permutations(tiles), generator)
    return Jigsaw(trunk, permutations, spread=mean_spread(data), generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on puzzles that are cut out of the unlabeled images."""
    return fit_task(inputs, name="jigsaw", draw=draw, build=build, passes=passes(inputs.images))
