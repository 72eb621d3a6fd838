"""Resampling of whole batches of squares, cut anywhere out of images in one pass."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def square_positions(
    *,
    centre: Float[Tensor, "b 2"],
    side: Float[Tensor, " b"],
    shift_fraction: Float[Tensor, "b 2"],
    scale_factor: Float[Tensor, " b"],
    angle_degrees: Float[Tensor, " b"],
    points: Float[Tensor, "p 2"],
) -> Float[Tensor, "b p 2"]:
    """Where points of a unit square (-0.5 to 0.5) lie in each image after turning, scaling and shifting the square.

    Positions, centres and sides are in pixels as (x, y); the middle of the first pixel is (0.5, 0.5). A `scale_factor`
    above 1 makes the square smaller, which zooms in; the shift is a fraction of the scaled square.
    """
    angle = torch.deg2rad(angle_degrees)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    extent = (side / scale_factor)[:, None, None]
    return centre[:, None] + extent * (points @ turn.transpose(1, 2) + shift_fraction[:, None])


def pixel_points(size: int, *, device: torch.device) -> Float[Tensor, "p 2"]:
    """The middles of the pixels of a `size` x `size` picture, as points of the unit square, row by row."""
    middles = (torch.arange(size, device=device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def cut(images: Float[Tensor, "b c h w"], positions: Float[Tensor, "b p 2"], size: int) -> Float[Tensor, "b c s s"]:
    """Sample each image bilinearly at `size` x `size` positions in pixels; beyond its border it is mirrored."""
    height, width = images.shape[-2:]
    scale = torch.tensor([2 / width, 2 / height], device=images.device)
    grid = (positions * scale - 1).view(len(images), size, size, 2)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
