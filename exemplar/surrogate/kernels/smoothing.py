"""The Gaussian low-pass: of energy maps, and of windows that will be sampled more coarsely."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def smooth(maps: Float[Tensor, "b 1 h w"], sigma: float) -> Float[Tensor, "b 1 h w"]:
    """Gaussian low-pass; the map is mirrored at its border."""
    for dimension in (2, 3):
        radius = min(int(4 * sigma + 0.5), maps.shape[dimension] - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype)
        weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = (weights / weights.sum()).view([1, 1, -1, 1] if dimension == 2 else [1, 1, 1, -1])
        pad = [0, 0, radius, radius] if dimension == 2 else [radius, radius, 0, 0]
        maps = functional.conv2d(functional.pad(maps, pad, mode="reflect"), kernel)
    return maps
