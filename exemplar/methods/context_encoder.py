"""Context encoder: what was in the holes of a picture (Pathak, Krähenbühl, Donahue, Darrell and Efros, CVPR 2016).

Squares at random places are set to the mean colour, and a decoder restores them from the last layer with a squared
error on the holes. Holes lie anywhere and vary, because the borders of one that does not move would be learnt. There is
no adversary: the paper's features come from the reconstruction alone. The visible rim inside the hole that the authors'
code weights ten times is left out, since whatever is visible can be copied; so is the layer that connects places within
a channel, because the last layer sees the whole patch. The score compares with the mean of the patch's visible pixels,
and `neighbours_skill` is what smooth filling from the border reaches.

The paper: 56.5 % mean average precision in the classification of PASCAL VOC 2007 after fine-tuning, where random
initial weights have 53.3 %. Measured: 54.1 % on `cifar10_400` after 256,000 encoder
passes, random filters 54.0 (docs/log.md).
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from exemplar.models.architecture import Architecture
from exemplar.params.schema import Section
from exemplar.surrogate.patches import SEED_SIDES, Patches, one_square, whole_numbers
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.decoder import Restoration, build_restoration
from exemplar.training.task import fit_task

PASSES = 1
PIXELS, HOLES = 32, 1024
SQUARES = (6, 12)  # pixels, smallest and largest side
TOLERANCE = 0.01  # of the patch: how far the hidden share of a hole is from what is asked for


class Options(Section):
    """`hidden_share`: the share of pixels that lie in the squares, to a hundredth."""

    hidden_share: float = Field(ge=0.1, le=0.9)


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Patches:
    """A square anywhere, and which of the holes it has."""
    holes = whole_numbers(HOLES, count, generator)
    return one_square(images, count=count, sides=SEED_SIDES, generator=generator, columns={"hole": holes})


def draw_holes(share: float, generator: torch.Generator) -> Float[Tensor, "holes 1 32 32"]:
    """Squares, one after another; one that would hide too much is passed over."""
    hidden, places = torch.zeros(HOLES, PIXELS, PIXELS, dtype=torch.bool), torch.arange(PIXELS)
    while bool((lacking := hidden.float().mean((1, 2)) < share - TOLERANCE).any()):
        side = torch.randint(SQUARES[0], SQUARES[1] + 1, (HOLES, 1), generator=generator)
        first = (torch.rand(HOLES, 2, generator=generator) * (PIXELS - side + 1)).floor()[:, :, None]
        inside = (places >= first) & (places < first + side[:, :, None])
        more = hidden | (inside[:, 0, :, None] & inside[:, 1, None, :])
        fits = lacking & (more.float().mean((1, 2)) <= share + TOLERANCE)
        hidden = torch.where(fits[:, None, None], more, hidden)
    return hidden[:, None].float()


def visible_mean(signal: Float[Tensor, "b 3 32 32"], hidden: Float[Tensor, "b 1 32 32"]) -> Float[Tensor, "b 3 32 32"]:
    """In each picture the mean colour of its visible pixels."""
    visible = 1 - hidden
    mean = (signal * visible).sum((2, 3), keepdim=True) / visible.sum((2, 3), keepdim=True)
    return mean.expand_as(signal)


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> Restoration:
    """An untrained network, with holes of three to five squares where a quarter is hidden."""
    bank = draw_holes(options.hidden_share, generator)
    return build_restoration(architecture, data, bank, visible_mean, mean=mean, generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on squares of the unlabeled images."""
    return fit_task(inputs, name="context_encoder", draw=draw, build=build, passes=PASSES)
