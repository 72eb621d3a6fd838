"""The family of transformations: ranges -> parameter table (the only dice); table x patches -> samples.

Paper, section 2. A row of the table is the paper's vector alpha. The order is the release's: one geometric resampling
out of the image, contrast along the principal components, stretch and contrast in HSV, hue.
"""

import math

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


def neutral_rows(count: int) -> Float[Tensor, "count p"]:
    """Rows of the table that change nothing."""
    return torch.tensor(NEUTRAL).repeat(count, 1)


def draw_uniform(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Float[Tensor, " count"]:
    """Numbers spread evenly between two bounds."""
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator)


def draw_log_uniform(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Float[Tensor, " count"]:
    """Numbers whose logarithm is spread evenly between two positive bounds: halving is as likely as doubling."""
    return draw_uniform(count, (math.log2(bounds[0]), math.log2(bounds[1])), generator).exp2()


def draw_geometry(count: int, ranges: Ranges, *, generator: torch.Generator) -> Float[Tensor, "count 4"]:
    """The columns of the table that say which square is cut."""
    bounds = (ranges.shift_fraction, ranges.shift_fraction, ranges.scale_factor, ranges.angle_degrees)
    return torch.stack([draw_uniform(count, pair, generator) for pair in bounds], 1)


def draw_colours(count: int, ranges: Ranges, *, generator: torch.Generator) -> Float[Tensor, "count 11"]:
    """The columns of the table that change colours."""
    normal = ranges.pca_distribution == "normal"
    dice = torch.randn(count, 3, generator=generator) if normal else 2 * torch.rand(count, 3, generator=generator) - 1
    columns = [
        *(dice * torch.tensor(ranges.pca_log2_spread)).exp2().unbind(1),
        torch.full((count,), ranges.stretch_fraction),
    ]
    for power, factor, offset in (
        (ranges.saturation_power, ranges.saturation_factor, ranges.saturation_offset),
        (ranges.value_power, ranges.value_factor, ranges.value_offset),
    ):
        columns += [draw_log_uniform(count, power, generator), draw_log_uniform(count, factor, generator)]
        columns += [draw_uniform(count, offset, generator)]
    return torch.stack([*columns, draw_uniform(count, ranges.hue_offset_turns, generator)], 1)


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


CORNERS = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])


def inside(
    rows: Float[Tensor, "b p"], *, centre: Float[Tensor, "b 2"], side: Float[Tensor, " b"], size: tuple[int, int]
) -> Bool[Tensor, " b"]:
    """Whether the square of each row lies in an image of `size` (width, height) pixels."""
    corners = positions(rows, centre=centre, side=side, points=CORNERS)
    return ((corners >= -1e-3) & (corners <= torch.tensor(size) + 1e-3)).all(2).all(1)


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
