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
from exemplar.runtime import collective
from exemplar.runtime.device import Compute, free_memory
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


def folder_of_rows(size_bytes: int, classes: int, *, compute: Compute, checkpoint: Path | None) -> Path | None:
    """Where a process maps rows and momenta, `size_bytes` for all classes, from a file; None: they lie on the device.

    They lie there, too, where a training has no folder for its checkpoint. That they are mapped is told.
    """
    free, checkpoint = free_memory(compute.device), collective.same_path(checkpoint, compute)
    if checkpoint is None or size_bytes // compute.processes <= SHARE_OF_MEMORY * free:
        return None
    say(
        f"the rows of {classes:,} classes and their momenta take {size_bytes / 1e9:.2f} GB, and what this process "
        f"keeps of them is more than half of the {free / 1e9:.2f} GB free on {compute.device}; they are mapped from "
        f"files in {checkpoint.parent}, which need {size_bytes / 1e9:.2f} GB, and as much again for each of up to "
        "three states"
    )
    return checkpoint.parent


def zeros(classes: int, width: int, folder: Path | None, *, device: torch.device) -> Float[Tensor, "n 2 d"]:
    """Rows and momenta of 0 on a device, or in a file that is mapped; raises UserError where the disk has no room."""
    shape = (classes, 2, width)
    if folder is None:
        return torch.zeros(shape, device=device)
    try:
        return torch.from_numpy(scratch_array(folder, shape, np.float32))
    except OSError as error:
        raise UserError(
            f"rows of classes need {4 * math.prod(shape) / 1e9:.2f} GB of disk in {folder} ({reason(error)}); "
            "make room there, or lower seeds.count"
        ) from None


class LazyRows(nn.Module):
    """The rows of all classes, and one more that stays 0 and stands in for no class.

    `rows` has each class's row and behind it its momentum. One of several processes owns those of a range of classes:
    it gives what it owns of the rows of a step to all, and takes it back afterwards. With a `folder` they lie in a file
    there that is mapped, whatever the device of all else. `passed[:, :, k]` is the product of the matrices of the last
    k steps; no row may wait for more than `longest`.
    """

    rows: Tensor
    passed: Tensor

    def __init__(self, classes: int, width: int, *, longest: int, compute: Compute, folder: Path | None = None) -> None:
        super().__init__()
        self.classes, self.compute, self.is_mapped = classes, compute, folder is not None
        self.first, last = (classes * (compute.rank + step) // compute.processes for step in (0, 1))
        self.own = last - self.first
        self.register_buffer("rows", zeros(self.own + 1, width, folder, device=compute.device), persistent=False)
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
        """Draw the rows of all classes."""
        for first in range(0, self.classes, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, self.classes - first)
            drawn = torch.empty(count, self.rows.shape[2]).normal_(0, spread, generator=generator)
            self.take(first, drawn, into=self.weights)

    def place(self, index: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """Where the rows of classes lie; the last one, which is 0, stands for no class and for those of others."""
        place = index.to(self.rows.device) - self.first
        return place.masked_fill((place < 0) | (place > self.own), self.own)

    def stored(self, index: Int64[Tensor, " n"]) -> list[Float[Tensor, "n d"]]:
        """Rows and their momenta as they were last written, for all processes together."""
        place = self.place(index)
        found = [each.index_select(0, place).to(index.device) for each in (self.weights, self.momentum)]
        collective.add_up(found, self.compute)
        return found

    def settled(
        self, index: Int64[Tensor, " n"], waited: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Rows and their momenta as they are after the steps that each waited for; nothing is written."""
        weights, momentum = self.stored(index)
        factors = self.passed.index_select(2, waited).to(weights.dtype)[..., None]
        (kept, moved), (decayed, left) = factors
        settled = (kept * weights).addcmul_(moved, momentum)
        return settled, momentum.mul_(left).addcmul_(decayed, weights)

    def put(self, index: Int64[Tensor, " n"], weights: Float[Tensor, "n d"], momentum: Float[Tensor, "n d"]) -> None:
        """Write the rows and momenta that this process owns."""
        place = self.place(index)
        for target, values in ((self.weights, weights), (self.momentum, momentum)):
            target.index_copy_(0, place, values.to(target.device))
        self.rows[-1].zero_()

    def pass_step(self, matrix: Matrix) -> None:
        """Let a step pass for every row."""
        row, momentum = self.passed[:, :, :-1]
        self.passed[:, :, 1:] = torch.stack([by_row * row + by_momentum * momentum for by_row, by_momentum in matrix])

    def owned(self, first: int, count: int) -> range:
        """Which of so many classes, from `first` on, this process owns."""
        return range(max(first, self.first), min(first + count, self.first + self.own))

    def take(self, first: int, rows: Float[Tensor, "n ..."], *, into: Float[Tensor, "own ..."]) -> None:
        """Take over what this process owns of the classes from `first` on, `into` the rows, the momenta or both."""
        if own := self.owned(first, len(rows)):
            here, there = (slice(own.start - begin, own.stop - begin) for begin in (self.first, first))
            into[here].copy_(rows[there])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LazyRows":
        """Leave mapped rows where they are when all else moves to a device."""
        stay = {"rows": self._buffers.pop("rows")} if self.is_mapped else {}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._buffers.update(stay)
        return self
