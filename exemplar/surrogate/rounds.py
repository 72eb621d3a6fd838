"""Seeds of a few images in memory, drawn round by round: of each image one in a round, while it has room."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.surrogate.counters import open_uniforms
from exemplar.surrogate.energy import NEIGHBOURHOOD, centres, energy_maps, has_energy, overlaps


def draw_scales(maps: Sequence[Float[Tensor, "b _ _"]], chance: Float64[Tensor, " b"]) -> Int64[Tensor, " b"]:
    """One map per image by a number in (0, 1), each as likely; the next with energy stands in for one without."""
    drawn = (chance * len(maps)).long()
    turns = (drawn[:, None] + torch.arange(len(maps))) % len(maps)
    first = torch.stack([has_energy(energy) for energy in maps], 1).gather(1, turns).int().argmax(1)
    return turns.gather(1, first[:, None])[:, 0]


def draw_cells(energy: Float[Tensor, "b g v"], chance: Float64[Tensor, " b"]) -> Int64[Tensor, "b 2"]:
    """One cell (row, column) per map by a number in (0, 1), proportional to its energy; -1 for a map without any."""
    up_to = energy.flatten(1).double().cumsum(1)
    drawn = torch.searchsorted(up_to, (chance * up_to[:, -1])[:, None], right=True)[:, 0]
    cells = torch.stack([drawn // energy.shape[2], drawn % energy.shape[2]], 1)
    return torch.where(has_energy(energy)[:, None], cells, -1)


def without_neighbourhood(energy: Float[Tensor, "b g v"], cells: Int64[Tensor, "b 2"]) -> Float[Tensor, "b g v"]:
    """The maps without the drawn cells and what is next to them, so that no seed is cut twice."""
    rows, columns = (torch.arange(side) for side in energy.shape[1:])
    near = ((rows - cells[:, :1]).abs() <= NEIGHBOURHOOD)[:, :, None] & (
        (columns - cells[:, 1:]).abs() <= NEIGHBOURHOOD
    )[:, None]
    return energy.masked_fill(near, 0)


def draw_from(
    images: UInt8[Tensor, "b 3 h w"],
    numbers: Int64[Tensor, " b"],
    *,
    key: int,
    rounds: int,
    scales: Sequence[float],
    most_overlap: float | None,
) -> Float[np.ndarray, "n 5"]:
    """One seed per image and round while it has room, each at a scale of its own: rows (round, number, x, y, side).

    What is drawn depends on the key and an image's number, and not on the other images. No two seeds of an image have
    an intersection over union above `most_overlap`, whatever their scales; None: they only keep 2 cells apart where
    their scale is the same.
    """
    maps = [energy_maps(images, scale) for scale in scales]
    size, rows = (images.shape[2], images.shape[3]), []
    chances = open_uniforms(key, numbers, 2 * rounds)
    for turn in range(rounds):
        scale_chance, cell_chance = chances[:, 2 * turn : 2 * turn + 2].T
        choice = draw_scales(maps, scale_chance)
        for index, (scale, energy) in enumerate(zip(scales, maps, strict=True)):
            wanted = torch.nonzero(choice == index)[:, 0]
            cells = draw_cells(energy[wanted], cell_chance[wanted])
            drawn, cells = wanted[cells[:, 0] >= 0], cells[cells[:, 0] >= 0]
            energy[drawn] = without_neighbourhood(energy[drawn], cells)
            shape = (energy.shape[1], energy.shape[2])
            centre, side = centres(cells.numpy(), shape, scale, size), PATCH_PIXELS / scale
            if most_overlap is not None:
                for other, its_energy in zip(scales, maps, strict=True):
                    overlap = overlaps(centre, side, shape=its_energy.shape[1:], scale=other, size=size)
                    its_energy[drawn] = its_energy[drawn].masked_fill(torch.from_numpy(overlap > most_overlap), 0)
            turns, sides = np.full(len(drawn), turn), np.full(len(drawn), side)
            rows.append(np.column_stack([turns, numbers[drawn].numpy(), centre, sides]))
        if not any(map(len, rows[-len(maps) :])):  # no image has room for more
            break
    return np.concatenate(rows)
