"""Colour changes of whole batches; pixels are RGB between 0 and 1, and each factor is one number per patch."""

import torch
from jaxtyping import Float
from torch import Tensor


def scale_components(
    patches: Float[Tensor, "b 3 h w"],
    factors: Float[Tensor, "b 3"],
    basis: Float[Tensor, "3 3"],
    mean: Float[Tensor, " 3"],
) -> Float[Tensor, "b 3 h w"]:
    """Multiply the projections of every pixel on the principal components (columns of `basis`); clip to 0..1."""
    mixing = basis @ (factors[:, :, None] * basis.T)
    offset = mean - mixing @ mean
    flat = torch.baddbmm(offset[:, :, None], mixing, patches.flatten(2))
    return flat.clamp_(0, 1).view_as(patches)


def stretch(patches: Float[Tensor, "b 3 h w"], amount: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Move each patch's own range, over all channels together, towards 0..1: not at all for 0, all the way for 1."""
    low, high = torch.aminmax(patches.flatten(1), dim=1)
    span = (high - low).clamp_min(1e-6)
    gain = 1 + amount * (1 / span - 1)
    offset = -amount * low / span
    return torch.addcmul(offset[:, None, None, None], patches, gain[:, None, None, None])


def to_hsv(patches: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Hue (turns), saturation and value, each [b h w]; grey has hue 0 and black has saturation 0."""
    red, green, blue = patches.unbind(1)
    value, low = patches.amax(1), patches.amin(1)
    chroma = value - low
    safe = chroma.clamp_min(1e-8)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    return (sixth / 6).remainder(1), chroma / value.clamp_min(1e-8), value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Float[Tensor, "b 3 h w"]:
    """The RGB of hue (turns), saturation and value."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device).view(3, 1, 1)
    position = (offsets + 6 * hue[:, None]).remainder(6)
    bump = torch.minimum(position, 4 - position).clamp(0, 1)
    return torch.addcmul(value[:, None], bump, (value * saturation)[:, None], value=-1)


def adjust(channel: Float[Tensor, "b h w"], power: Tensor, factor: Tensor, offset: Tensor) -> Float[Tensor, "b h w"]:
    """Raise to a power, multiply, add, and clip to 0..1."""
    raised = channel.clamp_min(0).pow(power[:, None, None])
    return torch.addcmul(offset[:, None, None], raised, factor[:, None, None]).clamp_(0, 1)
