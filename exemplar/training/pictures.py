"""What a task shows its network and what the trained network answers, as pictures for the report."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from exemplar.io.examples import Examples
from exemplar.runtime.device import Compute
from exemplar.training.learner import Learner, Rendered, Samples

ROWS = 4  # examples of a task
GAP = 2  # pixels between tiles
Pictures = Float[Tensor, "n 3 _ _"]


def shown(
    learner: Learner, data: Samples, compute: Compute, draw: Callable[[Rendered], list[Examples]]
) -> list[Examples]:
    """What `draw` makes of a few rows, evenly chosen of those that nobody trained on; nothing where there are none."""
    unseen = data.unseen()
    if not len(unseen):
        return []
    rows = torch.linspace(0, len(unseen) - 1, min(len(unseen), ROWS)).long()
    batch = unseen.to(compute.device).render(rows.to(compute.device))
    learner.eval()
    with torch.inference_mode(), compute.autocast():
        return draw(batch)


def in_columns(
    name: str, columns: Mapping[str, Pictures], words: Mapping[str, Sequence[str]] | None = None
) -> list[Examples]:
    """The examples of one task: under each heading a picture (0..1) for every row, all in one size, and its words."""
    side = max(max(pictures.shape[2:]) for pictures in columns.values())
    made = {}
    for heading, pictures in columns.items():
        large = functional.interpolate(pictures.float(), size=(side, side), mode="nearest")
        made[heading] = large.clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return [Examples.of(name, made, words or {})]


def mosaic(tiles: Float[Tensor, "n p 3 h w"], *, gap: int = GAP) -> Pictures:
    """The tiles of every row as one square picture, row by row on white."""
    across = round(tiles.shape[1] ** 0.5)
    framed = functional.pad(tiles, (0, gap, 0, gap), value=1.0)
    grid = framed.view(len(tiles), across, across, *framed.shape[2:]).permute(0, 3, 1, 4, 2, 5)
    return grid.flatten(4, 5).flatten(2, 3)[:, :, :-gap, :-gap]
