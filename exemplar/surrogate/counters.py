"""Draws without a generator: an integer hash of a key, a row's number and a column.

A row is the same on every device, for any number of processes, whichever rows are drawn with it, and after a kill. A
key comes from `streams.torch_seed`, so that no two purposes share a draw.
"""

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

# splitmix64 (Steele, Lea and Flood 2014), as signed numbers: a counter's factor, and the two rounds of mixing.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
ROUNDS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
LAST_SHIFT = 31


def shifted(numbers: Int64[Tensor, "*n"], bits: int) -> Int64[Tensor, "*n"]:
    """To the right, with zeros from the left."""
    return (numbers >> bits).bitwise_and(2 ** (64 - bits) - 1)


def hashed(start: Int64[Tensor, "*#n"], counter: Int64[Tensor, "*#n"]) -> Int64[Tensor, "..."]:
    """The number at place `counter` of the sequence of splitmix64 that begins at `start`."""
    mixed = start + (counter + 1) * GOLDEN
    for bits, factor in ROUNDS:
        mixed = (mixed ^ shifted(mixed, bits)) * factor
    return mixed ^ shifted(mixed, LAST_SHIFT)


def numbers(key: int, rows: Int64[Tensor, " n"], columns: int) -> Int64[Tensor, "n c"]:
    """64 random bits for each row and column; `rows` are any numbers, in any order."""
    start = hashed(rows.new_full((), key), rows)
    return hashed(start[:, None], torch.arange(columns, device=rows.device))


def uniforms(key: int, rows: Int64[Tensor, " n"], columns: int) -> Float32[Tensor, "n c"]:
    """Multiples of 2 ** -24 in [0, 1), all equally likely."""
    return shifted(numbers(key, rows, columns), 40).float() * 2**-24


def open_uniforms(key: int, rows: Int64[Tensor, " n"], columns: int) -> Float64[Tensor, "n c"]:
    """Odd multiples of 2 ** -53 in (0, 1): they have a logarithm, and `-log` of one is exponential."""
    return (shifted(numbers(key, rows, columns), 12).double() + 0.5) * 2**-52
