"""Colour changes of whole batches; pixels are RGB between 0 and 1, and each factor is one number per patch."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

# IEC 61966-2-1, and its white for an observer of 2 degrees.
SRGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
D65 = (0.95047, 1.0, 1.08883)


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
    """Move each patch's own range, over all channels together, towards 0..1: not at all for 0, all the way for 1.

    A patch whose range is below one level of a byte stays as it is: it has nothing to stretch but rounding errors.
    """
    flat = patches.flatten(1)
    low, high = flat.amin(1), flat.amax(1)  # aminmax with a dimension took 15 times as long as both
    span = high - low
    flat_patch = span < 1 / 255 - 1e-6  # one level may be a little less in float32
    amount, span = amount.masked_fill(flat_patch, 0), span.masked_fill(flat_patch, 1)
    gain = 1 + amount * (1 / span - 1)
    offset = -amount * low / span
    return (patches * gain[:, None, None, None]).add_(offset[:, None, None, None])


def to_hsv(patches: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Hue (turns), saturation and value, each [b h w]; grey has hue 0 and black has saturation 0.

    The hue is between -1/2 and 1/2: from red over green to cyan it grows with each of the three differences in turn,
    and where blue is above green it is the same with the sign changed.
    """
    red, green, blue = patches.unbind(1)
    value, low = patches.amax(1), patches.amin(1)
    chroma = value - low
    sixths = (value - red).add_(green - low).add_(blue - low).div_(chroma.clamp_min(1e-8))
    return torch.copysign(sixths, green - blue).div_(6), chroma.div_(value.clamp_min(1e-8)), value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Float[Tensor, "b 3 h w"]:
    """The RGB of hue (turns), saturation and value."""
    turns = hue[:, None] + (torch.arange(5, 0, -2, device=hue.device) / 6).view(3, 1, 1)
    distance = turns.sub_(turns.floor()).sub_(1 / 3).abs_()
    bump = torch.rsub(distance, 2, alpha=6).clamp_(0, 1)
    return torch.addcmul(value[:, None], bump, (value * saturation)[:, None], value=-1)


def adjust(channel: Float[Tensor, "b h w"], power: Tensor, factor: Tensor, offset: Tensor) -> Float[Tensor, "b h w"]:
    """Raise to a power above 0, multiply, add, and clip to 0..1."""
    power, factor, offset = (number[:, None, None] for number in (power, factor, offset))
    raised = channel.clamp_min(0).log2_().mul_(power).exp2_()  # half the time of pow
    return raised.mul_(factor).add_(offset).clamp_(0, 1)


@cache
def rgb_to_xyz(device: torch.device) -> Float[Tensor, "3 3"]:
    """Linear RGB to XYZ over that of white, on a device, copied there once: a step would wait for the copy."""
    with torch.inference_mode(mode=False):
        return torch.tensor(SRGB_TO_XYZ, device=device) / torch.tensor(D65, device=device)[:, None]


def to_lab(patches: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """CIE Lab of sRGB under daylight D65: L from 0 to 100, a and b around 0, which is grey."""
    linear = torch.where(patches > 0.04045, ((patches + 0.055) / 1.055) ** 2.4, patches / 12.92)
    mixing = rgb_to_xyz(patches.device)[:, :, None, None]
    xyz = (mixing * linear[:, None]).sum(2)  # a product of matrices may be rounded to bfloat16
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def from_lab(lab: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """The sRGB of CIE Lab; a colour that sRGB does not have is clipped."""
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(roots > 0.008856 ** (1 / 3), roots**3, (roots - 16 / 116) / 7.787)
    mixing = torch.linalg.inv(torch.tensor(SRGB_TO_XYZ)).to(lab.device) * torch.tensor(D65, device=lab.device)
    linear = (mixing[:, :, None, None] * xyz[:, None]).sum(2).clamp(0, 1)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)
