"""Rows of a head's weights, one for each class, of which a step changes a few; the others are settled when it is time.

A row without a gradient still moves, by its momentum and its decay. Both enter linearly: such a step multiplies (row,
momentum) by a matrix of 2 x 2. The products over the last 1, 2, 3 ... steps are kept, so that four numbers bring a row
that waited to the moment, whatever the learning rate did meanwhile.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from exemplar.errors import UserError, reason, say
from exemplar.io.arrays import scratch_array
from exemplar.runtime.device import free_memory
from exemplar.training.muon import Muon

SHARE_OF_MEMORY = 0.5  # of what is free on a device; rows and momenta that take more are mapped from a file
ROWS_AT_ONCE = 65_536
Matrix = tuple[tuple[float, float], tuple[float, float]]


def momentum_name(optimizer: Optimizer) -> str:
    """What an optimizer calls the momentum of a weight."""
    return "momentum" if isinstance(optimizer, Muon) else "momentum_buffer"


def group_of(weights: Tensor, optimizer: Optimizer) -> dict[str, Any]:
    """The group that an optimizer has these weights in."""
    return next(group for group in optimizer.param_groups if any(weights is each for each in group["params"]))


def still_step(group: dict[str, Any], *, nesterov: bool) -> Matrix:
    """What multiplies (row, momentum) in a step of SGD in which the row has no gradient but that of its decay."""
    rate, decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
    step = [decay + momentum * decay, momentum * momentum] if nesterov else [decay, momentum]
    return (1 - rate * step[0], -rate * step[1]), (decay, momentum)


def folder_of_rows(size_bytes: int, classes: int, *, device: torch.device, checkpoint: Path | None) -> Path | None:
    """Where rows and momenta of so many bytes are mapped from a file, which is told; None: they lie on the device.

    They lie there, too, where a training has no folder for its checkpoint.
    """
    free = free_memory(device)
    if checkpoint is None or size_bytes <= SHARE_OF_MEMORY * free:
        return None
    say(
        f"the rows of {classes:,} classes and their momenta take {size_bytes / 1e9:.2f} GB, more than half of the "
        f"{free / 1e9:.2f} GB free on {device}; they are mapped from a file in {checkpoint.parent}, which needs "
        "as much room, and as much again for each of up to three states"
    )
    return checkpoint.parent


def mapped(folder: Path, shape: tuple[int, ...]) -> Tensor:
    """Zeros in a file that is mapped; raises UserError where the disk has no room for them."""
    try:
        return torch.from_numpy(scratch_array(folder, shape, np.float32))
    except OSError as error:
        raise UserError(
            f"the rows of all classes need {4 * math.prod(shape) / 1e9:.2f} GB of disk in {folder} ({reason(error)}); "
            "make room there, or lower seeds.count"
        ) from None


class LazyRows(nn.Module):
    """The rows of all classes, and one more that stays 0 and stands in for no class.

    `rows` has each class's row and behind it its momentum. With a `folder` they lie in a file there that is mapped,
    whatever the device of all else. `passed[:, :, k]` is the product of the matrices of the last k steps; no row may
    wait for more than `longest`.
    """

    rows: Tensor
    passed: Tensor

    def __init__(self, classes: int, width: int, *, longest: int, folder: Path | None = None) -> None:
        super().__init__()
        self.classes, self.is_mapped = classes, folder is not None
        shape = (classes + 1, 2, width)
        self.register_buffer("rows", mapped(folder, shape) if folder else torch.zeros(shape), persistent=False)
        self.register_buffer("passed", torch.zeros(2, 2, longest + 1, dtype=torch.float64))
        self.passed[:, :, 0] = torch.eye(2)

    @property
    def weights(self) -> Float[Tensor, "n d"]:
        """The rows."""
        return self.rows[:, 0]

    @property
    def momentum(self) -> Float[Tensor, "n d"]:
        """Their momenta."""
        return self.rows[:, 1]

    def draw(self, spread: float, generator: torch.Generator) -> None:
        """Draw the rows of all classes, with momenta of 0."""
        for classes in torch.split(torch.arange(self.classes), ROWS_AT_ONCE):
            drawn = torch.empty(len(classes), self.rows.shape[2]).normal_(0, spread, generator=generator)
            self.put(classes, drawn, torch.zeros_like(drawn))

    def settled(
        self, index: Int64[Tensor, " n"], waited: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Rows and their momenta as they are after the steps that each waited for; nothing is written."""
        place = index.to(self.rows.device)
        weights, momentum = (each.index_select(0, place).to(index.device) for each in (self.weights, self.momentum))
        factors = self.passed.index_select(2, waited).to(weights.dtype)[..., None]
        (kept, moved), (decayed, left) = factors
        settled = (kept * weights).addcmul_(moved, momentum)
        return settled, momentum.mul_(left).addcmul_(decayed, weights)

    def put(self, index: Int64[Tensor, " n"], weights: Float[Tensor, "n d"], momentum: Float[Tensor, "n d"]) -> None:
        """Write rows and momenta; what is written to the row of no class is always the same."""
        place = index.to(self.rows.device)
        self.rows.index_copy_(0, place, torch.stack([weights, momentum], 1).to(self.rows.device))

    def pass_step(self, matrix: Matrix) -> None:
        """Let a step pass for every row."""
        row, momentum = self.passed[:, :, :-1]
        self.passed[:, :, 1:] = torch.stack([by_row * row + by_momentum * momentum for by_row, by_momentum in matrix])

    def get_extra_state(self) -> Tensor:
        """Rows and momenta, for a state."""
        return self.rows

    def set_extra_state(self, state: Tensor) -> None:
        """Take them over from a state, which may be mapped from its file too."""
        self.rows.copy_(state)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LazyRows":
        """Leave mapped rows where they are when all else moves to a device."""
        stay = {"rows": self._buffers.pop("rows")} if self.is_mapped else {}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._buffers.update(stay)
        return self
