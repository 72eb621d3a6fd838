"""One kernel for GPUs, in Triton's language, that draws squares: what `Draws.squares` computes.

One program makes the numbers of one sample, and tries all of its squares at once. Integers wrap around and float64 is
rounded as in the plain version, so that the same square is chosen.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from exemplar.surrogate import counters

PLACE = tl.constexpr(4)  # numbers behind a square
GOLDEN, LAST_SHIFT = tl.constexpr(counters.GOLDEN), tl.constexpr(counters.LAST_SHIFT)
(SHIFT_1, FACTOR_1), (SHIFT_2, FACTOR_2) = ((tl.constexpr(each) for each in pair) for pair in counters.ROUNDS)
RADIANS = tl.constexpr(0.017453292519943295)  # in a degree


def draw(
    key: int,
    counter: Int64[Tensor, " b"],
    *,
    bounds: Float64[Tensor, "2 p"],
    centre: Float[Tensor, "b 2"],
    side: Float[Tensor, " b"],
    size: tuple[int, int],
    attempts: int,
    context: float,
    colours: int,
) -> tuple[Float64[Tensor, "b 4"], Float64[Tensor, "b c"]]:
    """A square and `colours` uniform numbers for each row of this number; `attempts` is a power of 2."""
    squares, dice = (
        torch.empty(len(counter), width, dtype=torch.float64, device=counter.device) for width in (PLACE.value, colours)
    )
    read = [each.contiguous() for each in (counter, centre, side, bounds.T)]  # as they are already
    with torch.cuda.device_of(counter):  # type: ignore[no-untyped-call]  # no types
        square_of_row[len(counter),](
            *(squares, dice, *read, key, *size),
            attempts=attempts,
            context=context,
            colours=colours,
            num_warps=1,
            enable_fp_fusion=False,
        )
    return squares, dice


@triton.jit(do_not_specialize=range(9))  # compiled once, and not again while a graph is captured
@no_type_check
def square_of_row(
    squares,
    dice,
    counters,
    centres,
    sides,
    bounds,
    key: tl.int64,
    width,
    height,
    attempts: tl.constexpr,
    context: tl.constexpr,
    colours: tl.constexpr,
):
    """That of row `program_id` of the batch."""
    number = tl.program_id(0).to(tl.int64)
    start = hashed(key.to(tl.int64), tl.load(counters + number))
    column = tl.arange(0, attempts)
    tl.store(dice + number * colours + column, uniform(start, column), mask=column < colours)

    attempt = tl.arange(0, attempts)
    first = colours + attempt * PLACE
    shift_x, shift_y = between(bounds, uniform(start, first)), between(bounds + 2, uniform(start, first + 1))
    scale, angle = between(bounds + 4, uniform(start, first + 2)), between(bounds + 6, uniform(start, first + 3))
    side, width, height = tl.load(sides + number), width.to(tl.float64), height.to(tl.float64)
    extent, radians = side.to(tl.float64) / scale, angle * RADIANS
    reach = extent * (tl.abs(tl.cos(radians)) + tl.abs(tl.sin(radians))) / 2
    x = tl.load(centres + 2 * number).to(tl.float64) + extent * shift_x
    y = tl.load(centres + 2 * number + 1).to(tl.float64) + extent * shift_y
    room = tl.minimum(tl.minimum(x, width - x), tl.minimum(y, height - y))
    fits = tl.min(tl.where(room >= reach - 1e-3, attempt, attempts), 0)  # the first that does, or `attempts`

    chosen = tl.where((fits < attempts) & (context * side <= tl.minimum(width, height)), fits, 0)
    square = squares + number * PLACE
    tl.store(square, only(chosen, attempt, shift_x))
    tl.store(square + 1, only(chosen, attempt, shift_y))
    tl.store(square + 2, only(chosen, attempt, scale))
    tl.store(square + 3, only(chosen, attempt, angle))


@triton.jit
@no_type_check
def hashed(start, counter):
    """`counters.hashed`."""
    mixed = start + (counter + 1) * GOLDEN
    mixed = (mixed ^ shifted(mixed, SHIFT_1)) * FACTOR_1
    mixed = (mixed ^ shifted(mixed, SHIFT_2)) * FACTOR_2
    return mixed ^ shifted(mixed, LAST_SHIFT)


@triton.jit
@no_type_check
def shifted(numbers, bits):
    """`counters.shifted`."""
    return (numbers.to(tl.uint64, bitcast=True) >> bits).to(tl.int64, bitcast=True)


@triton.jit
@no_type_check
def uniform(start, column):
    """`counters.uniforms`, in float64."""
    return shifted(hashed(start, column.to(tl.int64)), 40).to(tl.float64) * (1 / 16777216)


@triton.jit
@no_type_check
def between(bounds, uniforms):
    """Numbers between the two that lie there: `transformation.geometry_of`."""
    low, high = tl.load(bounds), tl.load(bounds + 1)
    return low + (high - low) * uniforms


@triton.jit
@no_type_check
def only(chosen, attempt, numbers):
    """The number of the attempt that is chosen."""
    return tl.sum(tl.where(attempt == chosen, numbers, 0.0), 0)
