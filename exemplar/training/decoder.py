"""Pictures with holes, restored: what the tasks that hide pixels have in common.

The encoder sees a patch whose hidden pixels are 0, the mean colour; a decoder says from the last layer's vector what
they were. Only the hidden pixels count, since what is visible could be copied.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.surrogate.patches import Patches, Rows, over_rows
from exemplar.training.learner import Outcome
from exemplar.training.normalized import SCORES_SPREAD, Hidden, NormalizedLearner
from exemplar.training.pictures import in_columns
from exemplar.training.task import skill
from exemplar.training.trunk import Trunk, draw_trunk

COARSE, CHANNELS, BLOCK = 4, 32, 4  # the first maps of a decoder; the pixels that each place of the second says
SMALLEST = 1e-12

# Hidden pixels are 1, visible ones 0.
Holes = Float[Tensor, "b 1 32 32"]
Pictures = Float[Tensor, "b 3 32 32"]
Answer = Callable[[Pictures, Holes], Pictures]


class Decoder(nn.Module):
    """A vector -> 32 maps of 4 x 4 -> 8 x 8 -> a picture of 32 x 32, hardly off 0 at the start.

    It costs 1.5 million multiplications, where the encoder 64c5-64c5-128f has 31.
    """

    def __init__(self, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.spread = Hidden(width, CHANNELS * COARSE * COARSE, generator=generator)
        self.refined = Hidden(CHANNELS, CHANNELS, side=3, generator=generator)
        pixels = 3 * BLOCK * BLOCK
        weight = torch.empty(pixels, CHANNELS, 3, 3).normal_(0, SCORES_SPREAD, generator=generator)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(pixels))

    def forward(self, vectors: Float[Tensor, "b d"]) -> Pictures:
        """A picture in float32."""
        maps = self.spread(vectors[:, :, None, None]).reshape(-1, CHANNELS, COARSE, COARSE)
        maps = self.refined(functional.interpolate(maps, scale_factor=2.0, mode="nearest"))
        weight = self.weight / math.sqrt(self.weight[0].numel())  # else the first steps overshoot
        pixels = functional.conv2d(maps, weight, self.bias, padding=1).float()
        picture: Tensor = functional.pixel_shuffle(pixels, BLOCK)
        return picture


def mean_square(answer: Pictures, signal: Pictures, hidden: Holes) -> Float[Tensor, " b"]:
    """How far an answer is from each picture on its hidden pixels."""
    return ((answer - signal).square() * hidden).sum((1, 2, 3)) / (3 * hidden.sum((1, 2, 3)))


def mean_of_neighbours(signal: Pictures, hidden: Holes) -> Pictures:
    """Hidden pixels as the mean of those of their eight neighbours that are known, ring by ring into a hole."""
    known, picture = 1 - hidden, signal * (1 - hidden)
    while not bool(known.all()):
        total, share = functional.avg_pool2d(picture, 3, 1, 1), functional.avg_pool2d(known, 3, 1, 1)
        picture = torch.where(known > 0, picture, total / share.clamp_min(SMALLEST))
        known = (share > 0).float()
    return picture


class Restoration(NormalizedLearner):
    """A trunk that sees pictures with holes out of a bank, and a decoder that fills them.

    The loss is that of the answer over that of the `constant` answer, and so is at first about 1.
    """

    bank: Tensor

    def __init__(self, trunk: Trunk, decoder: Decoder, bank: Holes, *, constant: float, neighbours: float) -> None:
        super().__init__()
        self.trunk, self.decoder, self.constant = trunk, decoder, max(constant, SMALLEST)
        self.neighbours_skill = 1 - neighbours / self.constant
        self.register_buffer("bank", bank)

    def restored(self, signal: Pictures, hidden: Holes) -> Pictures:
        """What the network says of pictures, of which it sees what is not hidden."""
        vectors = self.trunk.layers(signal * (1 - hidden))[-1].flatten(1)
        picture: Tensor = self.decoder(vectors) * math.sqrt(self.constant)
        return picture

    def forward(self, batch: Rows) -> Outcome:
        """The mean loss and the skill on hidden pixels; beside it that of averaging the neighbours, measured once."""
        signal, hidden = self.trunk.seen(batch[0][:, 0]), self.bank[batch[1]["hole"]]
        loss = mean_square(self.restored(signal, hidden), signal, hidden)
        sums = {}
        if self.training:  # a constant of the rows that are trained on
            sums["neighbours_skill"] = torch.full((), self.neighbours_skill * len(loss), device=loss.device)
        return Outcome(loss.mean() / self.constant, skill(loss, self.constant), sums)

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """Pictures with their holes, with what the network puts there, and whole."""
        signal, hidden, mean = self.trunk.seen(batch[0][:, 0]), self.bank[batch[1]["hole"]], self.trunk.encoder.mean
        seen = signal * (1 - hidden)
        filled = seen + self.restored(signal, hidden) * hidden
        columns: dict[str, Tensor] = {"shown": seen + mean, "the answer": filled + mean, "the picture": signal + mean}
        return in_columns(name, columns)


def build_restoration(
    architecture: Architecture,
    data: Patches,
    bank: Holes,
    constant_answer: Answer,
    *,
    mean: Float[Tensor, "3 32 32"],
    generator: torch.Generator,
) -> Restoration:
    """An untrained network; each row's column `hole` is the number of its hole in the bank."""
    trunk = draw_trunk(architecture, mean=mean, generator=generator)

    def losses(rows: Rows) -> Float[Tensor, "b 2"]:
        signal, hidden = trunk.seen(rows[0][:, 0]), bank[rows[1]["hole"]]
        answers = [answer(signal, hidden) for answer in (constant_answer, mean_of_neighbours)]
        return torch.stack([mean_square(answer, signal, hidden) for answer in answers], 1)

    constant, neighbours = over_rows(data, losses).mean(0).tolist()
    decoder = Decoder(trunk.encoder.width, generator=generator)
    return Restoration(trunk, decoder, bank, constant=constant, neighbours=neighbours)
