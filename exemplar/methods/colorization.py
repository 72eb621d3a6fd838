"""Colorization: which colours has a picture that is seen in grey (Zhang, Isola and Efros, ECCV 2016).

The network sees the centred luma of a square, the same in its three channels, and answers for each of 8 x 8 cells in
which square of a grid in Lab's plane of a and b the mean colour of the cell lies. Cross-entropy has one right class.
The paper spreads it over neighbours and weighs rare ones more; its authors found later (CVPR 2017, table 2) that
features are better without. Their grid has 313 squares; here it has those that the cells of the first 4,096 training
squares fall into. Two linear layers answer: one reads the map of the last convolution where the cell is, the other the
last layer, for all cells. They and the softmax take an eighth of the time of `64c5-64c5-128f`.

Nothing has to be defended: what is answered is not in what is seen. Images without colours are not drawn. The matrix
that makes luma is folded into the first layer: the encoder takes pictures in colour and does not see their colours.

In the paper's network a linear classifier on conv5 has 31.8 % on ImageNet, on random filters 14.1 (CVPR 2017, table 2).
Measured: 58.1 % on `cifar10_400` after 256,000 encoder passes, random filters 54.0 (docs/log.md).
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.params.schema import Section
from exemplar.surrogate.kernels.colour import from_lab, to_lab
from exemplar.surrogate.patches import Patches, Rows, greyed, over_rows
from exemplar.training.colours import GREY, Bins, CellScores, coloured_squares, lab_cells, over_cells
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.learner import Outcome
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.pictures import in_columns
from exemplar.training.task import fit_task, skill
from exemplar.training.trunk import Trunk, draw_trunk

PASSES = 1


class Options(Section):
    """`bin_width`: the side of the grid's squares, in units of Lab."""

    bin_width: float = Field(ge=1, le=50)


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Patches:
    """A square anywhere, as it is or mirrored."""
    return coloured_squares(images, count=count, generator=generator)


def chroma_cells(batch: Rows) -> Float[Tensor, "b 64 2"]:
    """The mean a and b of each cell."""
    return lab_cells(batch[0][:, 0])[:, :, 1:]


class Colorization(NormalizedLearner):
    """A trunk that sees luma, and scores of the bins for each cell."""

    def __init__(self, trunk: Trunk, bins: Bins, *, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk, self.scores = trunk, CellScores(trunk, bins, generator=generator)

    def forward(self, batch: Rows) -> Outcome:
        """Cross-entropy over cells, and its skill against the shares of the bins."""
        loss = self.scores.loss(self.trunk.layers(self.trunk.seen(batch[0][:, 0])), chroma_cells(batch))
        return Outcome(loss.mean(), skill(loss, self.scores.bins.entropy()))

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """Squares in grey, with the colours that the network gives their cells, and with those that these have."""
        patches, light = batch[0][:, 0], to_lab(batch[0][:, 0])[:, :1]
        asked = over_cells(self.scores.bins.centres[self.scores.bins.of(chroma_cells(batch))])
        answers = self.scores.answered(self.trunk.layers(self.trunk.seen(patches)))
        answered, right = (from_lab(torch.cat([light, colours], 1)) for colours in (answers, asked))
        grey = greyed(batch[0], torch.ones(len(patches), dtype=torch.bool, device=patches.device))[:, 0]
        return in_columns(name, {"shown": grey, "the answer": answered, "right": right})


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> Colorization:
    """An untrained network, with the bins that the data fill."""
    cells = over_rows(data, chroma_cells).flatten(0, 1)
    bins = Bins(cells, width=options.bin_width, key="tasks.colorization.bin_width")
    trunk = draw_trunk(architecture, mean=mean, generator=generator, colours=GREY)
    return Colorization(trunk, bins, generator=generator)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on squares of the unlabeled images."""
    return fit_task(inputs, name="colorization", draw=draw, build=build, passes=PASSES)
