"""One kernel for GPUs, in Triton's language, that makes samples out of bytes: what `transformation.transform` computes.

One program makes one sample, its 1,024 pixels in registers, straight out of the window where its seed lies. Each step
rounds as the plain version does on a CPU (`geometry.cut` with PyTorch's grid_sample, `colour`), so that only sines,
logarithms and powers may differ in their last digit. Triton comes with PyTorch's builds for CUDA.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS

SIDE = tl.constexpr(PATCH_PIXELS)
COLUMNS = tl.constexpr(15)  # of the transformation table
RADIANS = tl.constexpr(0.017453292519943295)  # in a degree
WARPS = 8


def render(
    seed: Int64[Tensor, " b"],
    rows: Float[Tensor, "b p"],
    *,
    windows: UInt8[Tensor, "m 3 h w"],
    window_index: Int64[Tensor, " n"],
    centre: Float[Tensor, "n 2"],
    side: Float[Tensor, " n"],
    basis: Float[Tensor, "3 3"],
    mean: Float[Tensor, " 3"],
) -> Float[Tensor, "b 3 32 32"]:
    """Samples (0..1) of seeds under rows of the table, channels last; all numbers but of `basis` lie row by row."""
    shape = (len(seed), 3, PATCH_PIXELS, PATCH_PIXELS)
    samples = torch.empty(shape, device=seed.device, memory_format=torch.channels_last)
    read = [each.contiguous() for each in (windows, window_index, centre, side, seed, rows)]  # as they are already
    arguments = (samples, *read, basis, mean.contiguous(), *basis.stride(), *windows.shape[2:])
    with torch.cuda.device_of(seed):  # type: ignore[no-untyped-call]  # no types
        sample_of_seed[len(seed),](*arguments, num_warps=WARPS, enable_fp_fusion=False)
    return samples


@triton.jit(do_not_specialize=range(13))  # compiled once, and not again while a graph is captured
@no_type_check
def sample_of_seed(
    samples, windows, window_index, centre, side, seeds, rows, basis, mean, across_basis, along_basis, height, width
):
    """Sample number `program_id` of the batch."""
    number = tl.program_id(0).to(tl.int64)
    seed = tl.load(seeds + number)
    row = rows + number * COLUMNS
    x, y = positions(tl.load(centre + 2 * seed), tl.load(centre + 2 * seed + 1), tl.load(side + seed), row)
    x, y = mirrored(x, width), mirrored(y, height)
    window = windows + tl.load(window_index + seed) * 3 * height * width
    red = bilinear(window, x, y, height, width)
    green = bilinear(window + height * width, x, y, height, width)
    blue = bilinear(window + 2 * height * width, x, y, height, width)

    one, two, three = basis, basis + across_basis, basis + 2 * across_basis
    red, green, blue = (
        scaled(one, one, two, three, along_basis, mean, 0, row, red, green, blue),
        scaled(two, one, two, three, along_basis, mean, 1, row, red, green, blue),
        scaled(three, one, two, three, along_basis, mean, 2, row, red, green, blue),
    )
    red, green, blue = stretched(red, green, blue, tl.load(row + 7))

    value = tl.maximum(tl.maximum(red, green), blue)
    hue, saturation = hue_and_saturation(red, green, blue, value)
    saturation, value = adjusted(saturation, row + 8), adjusted(value, row + 11)
    hue += tl.load(row + 14)

    pixel = samples + number * (3 * SIDE * SIDE) + 3 * tl.arange(0, SIDE * SIDE)
    tl.store(pixel, channel(hue, 5 / 6, saturation, value))
    tl.store(pixel + 1, channel(hue, 3 / 6, saturation, value))
    tl.store(pixel + 2, channel(hue, 1 / 6, saturation, value))


@triton.jit
@no_type_check
def positions(centre_x, centre_y, side, row):
    """Where the sample's pixels lie in the window, in pixels: `transformation.positions`."""
    pixel = tl.arange(0, SIDE * SIDE)
    across = ((pixel % SIDE).to(tl.float32) + 0.5) * (1 / SIDE) - 0.5
    down = ((pixel // SIDE).to(tl.float32) + 0.5) * (1 / SIDE) - 0.5
    extent, angle = tl.div_rn(side, tl.load(row + 2)), tl.load(row + 3) * RADIANS
    cosine, sine = extent * tl.cos(angle), extent * tl.sin(angle)
    x = centre_x + extent * tl.load(row) + cosine * across - sine * down
    y = centre_y + extent * tl.load(row + 1) + sine * across + cosine * down
    return x, y


@triton.jit
@no_type_check
def mirrored(position, size):
    """A position as one between the middles of the first and of the last pixel, which are 0 and `size` - 1."""
    size = size.to(tl.float32)
    grid = position * tl.div_rn(2.0, size) - 1  # grid_sample takes positions from -1 to 1
    from_edge = tl.abs((grid + 1) * (size * 0.5) - 0.5 + 0.5)
    from_edge -= tl.floor(tl.div_rn(from_edge, 2 * size)) * (2 * size)
    return tl.minimum(tl.maximum(tl.minimum(from_edge, 2 * size - from_edge) - 0.5, 0.0), size - 1)


@triton.jit
@no_type_check
def bilinear(plane, x, y, height, width):
    """Pixels (0..1) of a plane of bytes; whatever the position is, what is read lies in the plane."""
    left, top = tl.floor(x), tl.floor(y)
    east, south = x - left, y - top
    left = tl.minimum(tl.maximum(left.to(tl.int32), 0), width - 1)
    top = tl.minimum(tl.maximum(top.to(tl.int32), 0), height - 1)
    right, upper, lower = tl.minimum(left + 1, width - 1), top * width, tl.minimum(top + 1, height - 1) * width
    found = tl.load(plane + upper + left).to(tl.float32) * ((1 - east) * (1 - south))
    found = tl.fma(tl.load(plane + upper + right).to(tl.float32), east * (1 - south), found)  # as grid_sample adds up
    found = tl.fma(tl.load(plane + lower + left).to(tl.float32), (1 - east) * south, found)
    found = tl.fma(tl.load(plane + lower + right).to(tl.float32), east * south, found)
    return tl.div_rn(found, 255.0)


@triton.jit
@no_type_check
def scaled(own, one, two, three, along, mean, place, row, red, green, blue):
    """A channel of `colour.scale_components`; `own` is its row of the basis, and `one` to `three` are all rows."""
    from_red, from_green = mixing(own, one, along, row), mixing(own, two, along, row)
    from_blue = mixing(own, three, along, row)
    of_mean = from_red * tl.load(mean) + from_green * tl.load(mean + 1) + from_blue * tl.load(mean + 2)
    offset = tl.load(mean + place) - of_mean
    return clipped(offset + from_red * red + from_green * green + from_blue * blue)


@triton.jit
@no_type_check
def mixing(one, other, along, row):
    """What a channel has of another, out of their rows of the basis."""
    found = tl.load(one) * (tl.load(row + 4) * tl.load(other))
    found += tl.load(one + along) * (tl.load(row + 5) * tl.load(other + along))
    return found + tl.load(one + 2 * along) * (tl.load(row + 6) * tl.load(other + 2 * along))


@triton.jit
@no_type_check
def stretched(red, green, blue, amount):
    """`colour.stretch`."""
    low = tl.min(tl.minimum(tl.minimum(red, green), blue), 0)
    span = tl.max(tl.maximum(tl.maximum(red, green), blue), 0) - low
    is_flat = span < 1 / 255 - 1e-6
    amount, span = tl.where(is_flat, 0.0, amount), tl.where(is_flat, 1.0, span)
    gain, offset = 1 + amount * (tl.div_rn(1.0, span) - 1), tl.div_rn(-amount * low, span)
    return red * gain + offset, green * gain + offset, blue * gain + offset


@triton.jit
@no_type_check
def hue_and_saturation(red, green, blue, value):
    """Those of `colour.to_hsv`."""
    low = tl.minimum(tl.minimum(red, green), blue)
    chroma = value - low
    sixths = tl.div_rn((value - red) + (green - low) + (blue - low), tl.maximum(chroma, 1e-8))
    hue = tl.div_rn(tl.where(green < blue, -sixths, sixths), 6.0)
    return hue, tl.div_rn(chroma, tl.maximum(value, 1e-8))


@triton.jit
@no_type_check
def adjusted(level, row):
    """`colour.adjust`."""
    raised = tl.exp2(tl.log2(tl.maximum(level, 0.0)) * tl.load(row))
    return clipped(raised * tl.load(row + 1) + tl.load(row + 2))


@triton.jit
@no_type_check
def channel(hue, turn, saturation, value):
    """One of the three that `colour.from_hsv` gives."""
    turns = hue + turn
    distance = tl.abs(turns - tl.floor(turns) - 1 / 3)
    return value - clipped(2 - 6 * distance) * (value * saturation)


@triton.jit
@no_type_check
def clipped(level):
    """To 0..1."""
    return tl.minimum(tl.maximum(level, 0.0), 1.0)
