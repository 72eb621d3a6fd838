"""Rows of a head's weights, one for each class, of which a step changes a few; the others are settled when it is time.

A row without a gradient still moves, by its momentum and its decay. Both enter linearly: such a step multiplies (row,
momentum) by a matrix of 2 x 2. The products over the last 1, 2, 3 ... steps are kept, so that four numbers bring a row
that waited to the moment, whatever the learning rate did meanwhile.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from exemplar.training.muon import Muon

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


class LazyRows(nn.Module):
    """The rows of all classes, and one more that stays 0 and stands in for no class.

    `passed[:, :, k]` is the product of the matrices of the last k steps; no row may wait for more than `longest`.
    """

    weights: Tensor
    momentum: Tensor
    passed: Tensor

    def __init__(self, classes: int, width: int, *, longest: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(classes + 1, width))
        self.register_buffer("momentum", torch.zeros(classes + 1, width))
        self.register_buffer("passed", torch.zeros(2, 2, longest + 1, dtype=torch.float64))
        self.passed[:, :, 0] = torch.eye(2)

    def settled(
        self, rows: Int64[Tensor, " n"], waited: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Rows and their momenta as they are after the steps that each waited for; nothing is written."""
        weights, momentum = self.weights.index_select(0, rows), self.momentum.index_select(0, rows)
        factors = self.passed.index_select(2, waited).to(weights.dtype)[..., None]
        (kept, moved), (decayed, left) = factors
        settled = (kept * weights).addcmul_(moved, momentum)
        return settled, momentum.mul_(left).addcmul_(decayed, weights)

    def put(self, rows: Int64[Tensor, " n"], weights: Float[Tensor, "n d"], momentum: Float[Tensor, "n d"]) -> None:
        """Write rows and momenta; what is written to the row of no class is always the same."""
        self.weights.index_copy_(0, rows, weights)
        self.momentum.index_copy_(0, rows, momentum)

    def pass_step(self, matrix: Matrix) -> None:
        """Let a step pass for every row."""
        row, momentum = self.passed[:, :, :-1]
        self.passed[:, :, 1:] = torch.stack([by_row * row + by_momentum * momentum for by_row, by_momentum in matrix])
