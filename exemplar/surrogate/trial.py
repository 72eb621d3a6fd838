"""What kernels are tried on: the same windows, seeds and rows in every process, so that the answer is the machine's.

Windows are smooth and full of colour, and rows are calm, so that a rounding error stays one. Some seeds leave their
windows no room, so that what is around them is mirrored.
"""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from exemplar.surrogate.counters import uniforms
from exemplar.surrogate.transformation import COLUMNS

KEY = 1
SEEDS, SAMPLES = 8, 8  # samples of each seed
HEIGHT, WIDTH = 64, 96  # of a window
CELL = 8  # pixels from one colour of a window to the next


def windows() -> UInt8[Tensor, "m 3 h w"]:
    """One for each seed: random colours, and in between what lies between them."""
    shape = (SEEDS, 3, HEIGHT // CELL, WIDTH // CELL)
    cells = uniforms(KEY, torch.arange(SEEDS), shape[1] * shape[2] * shape[3]).view(shape)
    smooth = functional.interpolate(cells, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=True)
    return smooth.mul(255).byte()


def indices() -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"]]:
    """Seed and sample of every row."""
    return torch.arange(SEEDS).repeat_interleave(SAMPLES), torch.arange(SAMPLES).repeat(SEEDS)


def squares() -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Centre (x, y) and side of every seed: near the middle of its window, of a third of its height to nearly all."""
    off_middle = 8 * uniforms(KEY + 1, torch.arange(SEEDS), 2) - 4
    return torch.tensor([WIDTH / 2, HEIGHT / 2]) + off_middle, torch.linspace(HEIGHT / 3, 0.9 * HEIGHT, SEEDS)


def calm(rows: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
    """The same rows where the colour chain is steep nowhere.

    Powers below 1 and offsets above 0 make colours out of the last digit of what is nearly grey or black; factors of
    components above 1 multiply errors.
    """
    columns = dict(zip(COLUMNS, rows.unbind(1), strict=True))
    for number in (1, 2, 3):
        columns[f"pca_factor_{number}"] = columns[f"pca_factor_{number}"].clamp_max(1)
    for name in ("saturation", "value"):
        columns[f"{name}_power"] = columns[f"{name}_power"].clamp_min(1)
        columns[f"{name}_offset"] = columns[f"{name}_offset"].clamp_max(0)
    return torch.stack(list(columns.values()), 1)
