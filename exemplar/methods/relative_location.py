"""Relative location: on which of eight sides of a patch does another one lie (Doersch, Gupta and Efros, "Unsupervised
Visual Representation Learning by Context Prediction", ICCV 2015).

The network sees two patches of an image, neighbours side by side or corner to corner; a head reads both vectors and
answers, for the pair in either order. Defences: a gap between a quarter and a half of a patch, and a shift of up to a
fourteenth, so that lines do not go on from one to the other; every patch has the same mean and contrast; a share of the
pairs is grey, because colour fringes tell where in a photograph a patch lies. No defence is complete: a pair that fills
much of its image is told by where its patches must lie (sky is above). In the curve, `held_out_absolute_place_score` is
the score where both patches come from different images: what is above chance there was read from one patch alone. What
both places together tell, as colour fringes may, it does not see.

Deviations: the paper cuts patches of 96 pixels out of photographs of some 400 x 600, here they are a quarter to three
eighths as wide as the image, because smaller ones show too little of images of 32 to 96 pixels; the paper takes two of
three colour channels away, here some pairs are grey, because the probe's images have colour; the paper has two layers
of 4096 behind AlexNet's fc6, here they have 128, because a step of Muon costs the square of that.

Expected: with frozen features of AlexNet's layer conv4, 31.7 % on ImageNet, where random filters have 16.3 (Zhang,
Isola and Efros, CVPR 2017, Table 2).
Measured: 54.7 % on `cifar10_400` after 256,000 encoder passes, random filters 54.0 (docs/log.md).
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import Field
from torch import Tensor

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.params.schema import Section
from exemplar.surrogate.patches import Patches, Rows, between, whole_numbers
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.pictures import in_columns, mosaic
from exemplar.training.siamese import Joined, Siamese, mean_spread
from exemplar.training.task import fit_task, require_side
from exemplar.training.trunk import Trunk, draw_trunk

PASSES = 2
# From the first patch to the second, as (x, y); the opposite of number l is number 7 - l.
STEPS = tuple((x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y)
SIDES = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")
PLACES_APART = 12  # pixels, of patches in the report
GAP, JITTER = (0.25, 0.5), 1 / 14  # of a patch's side; the paper's are 48 and 7 of 96 pixels
SIDE = (1 / 4, 3 / 8)  # of the shorter side of the image
LARGEST, SMALLEST_IMAGE = 62.0, 32  # pixels: of patches, the largest seeds' side; of images
HIDDEN = (128, 128)


class Options(Section):
    """`grey_share`: the share of pairs that have no colour."""

    grey_share: float = Field(ge=0, le=1)


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Patches:
    """A pair of patches anywhere in an image that both lie whole, and the number of the step between them."""
    require_side(images, SMALLEST_IMAGE, name="relative_location", what="two patches")
    size = torch.tensor((images.shape[3], images.shape[2]))
    low, high = (min(share * float(size.min()), LARGEST) for share in SIDE)
    side = between(low, high, count, generator)[:, None]
    number = whole_numbers(len(STEPS), count, generator)
    distance = 1 + between(*GAP, count, generator)[:, None]
    jitter = JITTER * (2 * torch.rand(count, 2, generator=generator) - 1)
    step = side * (torch.tensor(STEPS)[number] * distance + jitter)
    extent = side + step.abs()
    middle = extent / 2 + (size - extent) * torch.rand(count, 2, generator=generator)
    return Patches(
        images=torch.from_numpy(images),
        image=whole_numbers(len(images), count, generator)[:, None].expand(-1, 2),
        centre=torch.stack([middle - step / 2, middle + step / 2], 1),
        side=side.expand(-1, 2),
        columns={"step": number, "grey": torch.rand(count, generator=generator) < options.grey_share},
    )


class RelativeLocation(Siamese):
    """A trunk for both patches, and a head that scores the eight steps."""

    chance = 1 / len(STEPS)

    def __init__(self, trunk: Trunk, *, spread: float, generator: torch.Generator) -> None:
        super().__init__(trunk, spread=spread)
        self.head = Joined(2 * trunk.encoder.width, HIDDEN, len(STEPS), generator=generator)

    def answered(self, vectors: Float[Tensor, "b 2 d"], columns: Mapping[str, Tensor]) -> Float[Tensor, "b 2 8"]:
        """Scores of the steps from the first patch to the second, and back."""
        scores: Tensor = self.head(torch.stack([vectors, vectors.flip(1)], 1).flatten(0, 1))
        return scores.view(len(vectors), 2, len(STEPS))

    def targets(self, columns: Mapping[str, Tensor]) -> Int64[Tensor, "b 2"]:
        """The numbers of both."""
        return torch.stack([columns["step"], len(STEPS) - 1 - columns["step"]], 1)

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """The first patch in the middle, and the second where it lies and where the network puts it."""
        patches, asked = self.seen(batch), batch[1]["step"]
        answers = self.answered(self.vectors(batch), batch[1])[:, 0].argmax(1)
        columns, words = {}, {}
        for heading, steps in (("where it lies", asked), ("the answer", answers)):
            places = torch.full((len(patches), 9, *patches.shape[2:]), 0.93, device=patches.device)
            places[:, 4] = patches[:, 0]
            places[torch.arange(len(patches), device=steps.device), steps + (steps > 3)] = patches[:, 1]
            columns[heading], words[heading] = (
                mosaic(places, gap=PLACES_APART),
                [SIDES[step] for step in steps.tolist()],
            )
        return in_columns(name, columns, words)


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> RelativeLocation:
    """An untrained network."""
    trunk = draw_trunk(architecture, mean=mean, generator=generator)
    return RelativeLocation(trunk, spread=mean_spread(data), generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on pairs of patches of the unlabeled images."""
    return fit_task(inputs, name="relative_location", draw=draw, build=build, passes=PASSES)
