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


def orthogonalized(step: Float[Tensor, "out ..."]) -> Float[Tensor, "out ..."]:
    """About the nearest matrix, a row for each filter, whose singular values are all 1 (Newton and Schulz)."""
    matrix = step.flatten(1)
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    a, b, c = COEFFICIENTS
    wide = wide / (wide.norm() + SMALLEST)
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    result: Tensor = wide if len(matrix) <= matrix.shape[1] else wide.T
    return result.reshape(step.shape)


class Muon(Optimizer):
    """Groups with `orthogonal` take orthogonal steps and keep the weights' length; the others are Nesterov's SGD.

    The length of an orthogonal step is `lr` times that of the weights.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float) -> None:
        super().__init__(groups, {"momentum": momentum, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is ever given
        """Change every weight that has a gradient."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    gradient = weights.grad.add(weights, alpha=group["weight_decay"])
                    state = self.state[weights]
                    if not state:
                        state["momentum"], state["length"] = torch.zeros_like(weights), weights.norm()
                    state["momentum"].mul_(group["momentum"]).add_(gradient)
                    gradient.add_(state["momentum"], alpha=group["momentum"])
                    if group["orthogonal"]:
                        change = orthogonalized(gradient)
                        weights.mul_(state["length"] / weights.norm().clamp_min(SMALLEST))
                        weights.add_(change * (state["length"] / change.norm().clamp_min(SMALLEST)), alpha=-group["lr"])
                    else:
                        weights.add_(gradient, alpha=-group["lr"])
