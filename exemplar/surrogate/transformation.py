"""The family of transformations: uniform numbers x ranges -> transformation table; table x patches -> samples.

Paper, section 2. A row of the table is the paper's vector alpha. The order is the release's: one geometric resampling
out of the image, contrast along the principal components, stretch and contrast in HSV, hue.
"""

import math
from functools import cache

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.surrogate.kernels import colour, geometry
from exemplar.surrogate.ranges import Ranges

COLUMNS = (
    "shift_x_fraction",
    "shift_y_fraction",
    "scale_factor",
    "angle_degrees",
    "pca_factor_1",
    "pca_factor_2",
    "pca_factor_3",
    "stretch_fraction",
    "saturation_power",
    "saturation_factor",
    "saturation_offset",
    "value_power",
    "value_factor",
    "value_offset",
    "hue_offset_turns",
)
NEUTRAL = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0)
PCA = slice(4, 7)
# Of the columns that change colours: how many in turn are drawn on a logarithmic scale and how many are not.
COLOUR_SCALES = [3, 1, 2, 1, 2, 2]


def neutral_rows(count: int) -> Float[Tensor, "count p"]:
    """Rows of the table that change nothing."""
    return torch.tensor(NEUTRAL).repeat(count, 1)


@cache
def bounds(ranges: Ranges, device: torch.device) -> Float[Tensor, "2 p"]:
    """The lowest and the highest number of every column, in float64; of powers and factors of colours, logarithms."""
    spreads = [(-spread, spread) for spread in ranges.pca_log2_spread]
    pairs = [ranges.shift_fraction, ranges.shift_fraction, ranges.scale_factor, ranges.angle_degrees, *spreads]
    pairs.append((ranges.stretch_fraction, ranges.stretch_fraction))
    for power, factor, offset in (
        (ranges.saturation_power, ranges.saturation_factor, ranges.saturation_offset),
        (ranges.value_power, ranges.value_factor, ranges.value_offset),
    ):
        pairs += [(math.log2(low), math.log2(high)) for low, high in (power, factor)] + [offset]
    with torch.inference_mode(False):  # one that was made in inference mode could not be used in training
        return torch.tensor([*pairs, ranges.hue_offset_turns], dtype=torch.float64, device=device).T


def geometry_of(uniforms: Float[Tensor, "*n 4"], ranges: Ranges) -> Float[Tensor, "*n 4"]:
    """The columns of the table that say which square is cut, spread evenly."""
    low, high = bounds(ranges, uniforms.device)[:, : PCA.start].unbind()
    return low + (high - low) * uniforms


def colours_of(uniforms: Float[Tensor, "n 11"], ranges: Ranges) -> Float[Tensor, "n 11"]:
    """The columns of the table that change colours, spread evenly; powers and factors on a logarithmic scale.

    A normal number is the one that as large a share of normal ones is below. So that it is finite, half of 2 ** -24
    is added to a uniform number, which is a multiple of 2 ** -24.
    """
    low, high = bounds(ranges, uniforms.device)[:, PCA.start :].unbind()
    columns = low + (high - low) * uniforms
    if ranges.pca_distribution == "normal":
        columns[:, :3] = high[:3] * torch.special.ndtri(uniforms[:, :3] + 2**-25)
    parts = torch.split(columns, COLOUR_SCALES, 1)
    return torch.cat([part if turn % 2 else part.exp2() for turn, part in enumerate(parts)], 1)


def positions(
    rows: Float[Tensor, "b p"], *, centre: Float[Tensor, "b 2"], side: Float[Tensor, " b"], points: Float[Tensor, "q 2"]
) -> Float[Tensor, "b q 2"]:
    """Where the points of the unit square lie, in pixels as (x, y), for squares with these centres and sides."""
    return geometry.square_positions(
        centre=centre,
        side=side,
        shift_fraction=rows[:, 0:2],
        scale_factor=rows[:, 2],
        angle_degrees=rows[:, 3],
        points=points,
    )


def inside(
    rows: Float[Tensor, "*n p"], *, centre: Float[Tensor, "*#n 2"], side: Float[Tensor, "*#n"], size: tuple[int, int]
) -> Bool[Tensor, "*n"]:
    """Whether the square of each row lies in an image of `size` (width, height) pixels."""
    extent, angle = side / rows[..., 2], torch.deg2rad(rows[..., 3])
    reach = extent * (angle.cos().abs() + angle.sin().abs()) / 2
    x, y = (centre + extent[..., None] * rows[..., :2]).unbind(-1)
    room = torch.minimum(torch.minimum(x, size[0] - x), torch.minimum(y, size[1] - y))
    return room >= reach - 1e-3


def recolour(
    patches: Float[Tensor, "b 3 h w"],
    rows: Float[Tensor, "b p"],
    *,
    basis: Float[Tensor, "3 3"],
    mean: Float[Tensor, " 3"],
) -> Float[Tensor, "b 3 h w"]:
    """Apply the table's colour columns to patches (0..1); `basis` and `mean` are those of the set's pixels."""
    patches = colour.scale_components(patches, rows[:, PCA], basis, mean)
    stretched = colour.stretch(patches, rows[:, 7])
    hue, saturation, value = colour.to_hsv(stretched)
    saturation = colour.adjust(saturation, *rows[:, 8:11].unbind(1))
    value = colour.adjust(value, *rows[:, 11:14].unbind(1))
    return colour.from_hsv(hue + rows[:, 14, None, None], saturation, value)


def transform(
    images: Float[Tensor, "b 3 h w"] | UInt8[Tensor, "b 3 h w"],
    rows: Float[Tensor, "b p"],
    *,
    centre: Float[Tensor, "b 2"],
    side: Float[Tensor, " b"],
    basis: Float[Tensor, "3 3"],
    mean: Float[Tensor, " 3"],
) -> Float[Tensor, "b 3 32 32"]:
    """Cut one sample of 32 x 32 pixels out of each image, as its row of the table says: T_alpha of the paper.

    Images are floats between 0 and 1 or bytes between 0 and 255.
    """
    points = geometry.pixel_points(PATCH_PIXELS, device=images.device)
    where = positions(rows, centre=centre, side=side, points=points)
    return recolour(geometry.cut(images, where, PATCH_PIXELS), rows, basis=basis, mean=mean)
