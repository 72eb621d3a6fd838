"""Split-brain autoencoder: two halves predict what the other sees (Zhang, Isola and Efros, CVPR 2017).

Both have the layers of the network at half the width. One sees luma and answers which colours each of 8 x 8 cells has,
as in colorization; the other sees R - Y, G - Y and B - Y and answers the cell's L, in intervals. Both learn by
cross-entropy with one right class. In the end they stand side by side in an encoder of full width, of which no filter
reads a map of the other half. Nothing has to be defended, as no half sees what it answers. The paper splits
Lab; here the split is linear, so that it can be folded into the first layer.

A row takes the time of 0.8 passes of `64c5-64c5-128f` on one core (0.55 of its multiply-adds) and of 0.5 passes of
`64c5-128c5-256c5-512f`; the answers take an eighth more.

In the paper's network a linear classifier on conv5 has 32.8 % on ImageNet, on random filters 14.1 (table 2).
Measured: 59.0, 59.6, 60.0 % on `cifar10_400` after 256,000 encoder passes (random seeds 0 to 2), random filters
54.0, 54.4, 54.4 (docs/log.md).
"""

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import Tensor

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.models.network import Encoder
from exemplar.params.schema import Section
from exemplar.surrogate.kernels.colour import from_lab, to_lab
from exemplar.surrogate.patches import Patches, Rows, greyed, over_rows
from exemplar.training.colours import GREY, Bins, CellScores, coloured_squares, lab_cells
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.halves import halved, merged
from exemplar.training.learner import Outcome
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.pictures import in_columns
from exemplar.training.task import fit_task, skill
from exemplar.training.trunk import Trunk, draw_trunk

PASSES = 0.8
COLOUR_DIFFERENCES = torch.eye(3) - GREY


class Options(Section):
    """`bin_width` and `light_bin_width`: the side of a class in the plane of Lab's a and b, and along its L."""

    bin_width: float = Field(ge=1, le=50)
    light_bin_width: float = Field(ge=1, le=50)


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Patches:
    """A square anywhere, as it is or mirrored."""
    return coloured_squares(images, count=count, generator=generator)


class SplitBrain(NormalizedLearner):
    """Two trunks of half the width, and for each the scores of what the other sees."""

    def __init__(
        self,
        architecture: Architecture,
        halves: tuple[Trunk, Trunk],
        bins: tuple[Bins, Bins],
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.light, self.colour = halves
        self.colours_of_light = CellScores(self.light, bins[0], generator=generator)
        self.light_of_colours = CellScores(self.colour, bins[1], generator=generator)

    def trunks(self) -> list[Trunk]:
        """The half that sees luma and the half that sees colour differences."""
        return [self.light, self.colour]

    def forward(self, batch: Rows) -> Outcome:
        """The cross-entropies of both added up, which share no weight, and the mean of their skills."""
        patches = batch[0][:, 0]
        cells = lab_cells(patches)
        losses, skills = [], []
        for trunk, scores, values in (
            (self.light, self.colours_of_light, cells[:, :, 1:]),
            (self.colour, self.light_of_colours, cells[:, :, :1]),
        ):
            loss = scores.loss(trunk.layers(trunk.seen(patches)), values)
            losses.append(loss.mean())
            skills.append(skill(loss, scores.bins.entropy()))
        return Outcome(
            losses[0] + losses[1],
            (skills[0] + skills[1]) / 2,
            {"skill_of_colours": skills[0], "skill_of_light": skills[1]},
        )

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """What each half sees, and a picture with what it answers in the place of what it does not see."""
        patches, lab = batch[0][:, 0], to_lab(batch[0][:, 0])
        grey = greyed(batch[0], torch.ones(len(patches), dtype=torch.bool, device=patches.device))[:, 0]
        colours = self.colours_of_light.answered(self.light.layers(self.light.seen(patches)))
        light = self.light_of_colours.answered(self.colour.layers(self.colour.seen(patches)))
        columns = {
            "light": grey,
            "colours answered": from_lab(torch.cat([lab[:, :1], colours], 1)),
            "colours": patches - grey + 0.5,
            "light answered": from_lab(torch.cat([light, lab[:, 1:]], 1)),
            "the picture": patches,
        }
        return in_columns(name, columns)

    def finish(self) -> Encoder:
        """Both encoders side by side, their matrices folded into them."""
        return merged(self.light.plain(), self.colour.plain(), self.architecture)


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> SplitBrain:
    """An untrained network, with the bins that the data fill. Raises UserError for a layer of odd width."""
    narrow = halved(architecture)
    values = over_rows(data, lambda rows: lab_cells(rows[0][:, 0])).flatten(0, 1)
    bins = (
        Bins(values[:, 1:], width=options.bin_width, key="tasks.split_brain.bin_width"),
        Bins(values[:, :1], width=options.light_bin_width, key="tasks.split_brain.light_bin_width"),
    )
    light, colour = (
        draw_trunk(narrow, mean=mean, generator=generator, colours=colours) for colours in (GREY, COLOUR_DIFFERENCES)
    )
    return SplitBrain(architecture, (light, colour), bins, generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on squares of the unlabeled images."""
    return fit_task(inputs, name="split_brain", draw=draw, build=build, passes=PASSES)
