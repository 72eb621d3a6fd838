"""Muon: momentum whose step is made orthogonal, for weights that batch normalisation makes free of scale.

K. Jordan et al., "Muon: an optimizer for the hidden layers of neural networks", 2024. PyTorch's takes matrices only, so
that a convolution's weights could not be parameters as they are.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

# The coefficients of the quintic iteration, and how often it is applied (the authors').
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
SMALLEST = 1e-7


def orthogonalized(step: Float[Tensor, "out ..."], *, precision: torch.dtype | None = None) -> Float[Tensor, "out ..."]:
    """About the nearest matrix, a row for each filter, whose singular values are all 1 (Newton and Schulz).

    It is iterated in `precision`, in the step's own where that is None; the authors do so in bfloat16.
    """
    matrix = step.flatten(1)
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    a, b, c = COEFFICIENTS
    wide = (wide / (wide.norm() + SMALLEST)).to(precision or step.dtype)
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        if precision is None:
            wide = a * wide + (b * square + c * square @ square) @ wide
        else:  # the same in three launches, each of which rounds once
            wide = torch.addmm(wide, torch.addmm(square, square, square, beta=b, alpha=c), wide, beta=a)
    result: Tensor = wide if len(matrix) <= matrix.shape[1] else wide.T
    return result.reshape(step.shape).to(step.dtype)


class Muon(Optimizer):
    """Groups with `orthogonal` take orthogonal steps and keep the weights' length; the others are Nesterov's SGD.

    The length of an orthogonal step is `lr` times that of the weights. Under autocast orthogonal steps are computed in
    its type. It is `capturable`: a rate that is a tensor is read on its device.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float) -> None:
        defaults = {"momentum": momentum, "weight_decay": 0.0, "orthogonal": False, "capturable": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is ever given
        """Change every weight that has a gradient."""
        for group in self.param_groups:
            changed = [weights for weights in group["params"] if weights.grad is not None]
            if not changed:
                continue
            gradients = torch._foreach_add([w.grad for w in changed], changed, alpha=group["weight_decay"])
            momenta = [self.begun(weights)["momentum"] for weights in changed]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            torch._foreach_add_(gradients, momenta, alpha=group["momentum"])
            if group["orthogonal"]:
                for weights, gradient in zip(changed, gradients, strict=True):
                    self.turn(weights, gradient, rate=group["lr"])
            else:
                subtract(changed, list(gradients), group["lr"])

    def begun(self, weights: Tensor) -> dict[str, Tensor]:
        """The momentum of a weight and the length that it keeps."""
        state: dict[str, Tensor] = self.state[weights]
        if not state:
            state["momentum"], state["length"] = torch.zeros_like(weights), weights.norm()
        return state

    def turn(self, weights: Tensor, gradient: Tensor, *, rate: float | Tensor) -> None:
        """Bring weights back to the length that they keep, and take an orthogonal step from there."""
        device, length = weights.device.type, self.state[weights]["length"]
        is_rounded = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        precision = torch.get_autocast_dtype(device) if is_rounded else None
        change = orthogonalized(gradient, precision=precision)
        weights.mul_(length / weights.norm().clamp_min(SMALLEST))
        subtract([weights], [change * (length / change.norm().clamp_min(SMALLEST))], rate)


def subtract(weights: list[Tensor], changes: list[Tensor], rate: float | Tensor) -> None:
    """Take changes times a rate away from weights, in place; a rate that is a tensor is read on its device, later."""
    if isinstance(rate, Tensor):
        torch._foreach_mul_(changes, rate)
        torch._foreach_sub_(weights, changes)
    else:
        torch._foreach_add_(weights, changes, alpha=-rate)
