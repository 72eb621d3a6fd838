"""Denoising autoencoder: what were the pixels that are missing (Vincent, Larochelle, Bengio and Manzagol, ICML 2008).

A random share of the pixels is set to the mean colour, all three channels together, because the other channels would
give the answer away; a decoder restores them from the last layer. The paper trains layer after layer on grey digits,
its decoder shares the encoder's weights, and the loss is a cross-entropy over all pixels. Here colour patches are
restored by one network as a whole, with a squared error on the missing pixels alone (the "emphasised" loss of the
authors' JMLR paper of 2010), so that copying does not count. What neighbouring pixels say remains a shortcut, and the
number `neighbours_skill` tells how far it goes.

The paper's numbers are test errors on variants of handwritten digits after training on labels, and compare with none
here. Measured: 52.7 % on `cifar10_400` after 256,000 encoder passes, random filters 54.0
(docs/log.md).
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
PIXELS, HOLES = 32 * 32, 1024


class Options(Section):
    """`hidden_share`: the share of pixels that are missing."""

    hidden_share: float = Field(ge=0.01, le=0.99)


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Patches:
    """A square anywhere, and which of the holes it has."""
    holes = whole_numbers(HOLES, count, generator)
    return one_square(images, count=count, sides=SEED_SIDES, generator=generator, columns={"hole": holes})


def draw_holes(share: float, generator: torch.Generator) -> Float[Tensor, "holes 1 32 32"]:
    """Single pixels anywhere, as many in each."""
    order = torch.rand(HOLES, PIXELS, generator=generator).argsort(1)
    return (order < round(share * PIXELS)).float().view(HOLES, 1, 32, 32)


def mean_colour(signal: Float[Tensor, "b 3 32 32"], hidden: Float[Tensor, "b 1 32 32"]) -> Float[Tensor, "b 3 32 32"]:
    """That of all patches, which is 0 because they are centred."""
    return torch.zeros_like(signal)


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> Restoration:
    """An untrained network."""
    bank = draw_holes(options.hidden_share, generator)
    return build_restoration(architecture, data, bank, mean_colour, mean=mean, generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on squares of the unlabeled images."""
    return fit_task(inputs, name="denoising", draw=draw, build=build, passes=PASSES)
