"""Random streams that share no draw: one for each random seed, purpose and index (a fold, an epoch)."""

from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    import torch


def sequence(random_seed: int, purpose: str, *index: int) -> np.random.SeedSequence:
    """What a stream starts from: two that differ in anything are independent (NumPy's SeedSequence mixes all of it)."""
    counted_from_1 = (each + 1 for each in index)  # to NumPy a 0 at the end is as good as none
    return np.random.SeedSequence([random_seed, crc32(purpose.encode()), *counted_from_1])


def numpy_stream(random_seed: int, purpose: str, *index: int) -> np.random.Generator:
    """NumPy's generator of a stream."""
    return np.random.default_rng(sequence(random_seed, purpose, *index))


def torch_seed(random_seed: int, purpose: str, *index: int) -> int:
    """A number between 0 and 2 ** 63 for PyTorch's generators, on whatever device."""
    return int(sequence(random_seed, purpose, *index).generate_state(1, np.uint64)[0] >> 1)


def torch_stream(random_seed: int, purpose: str, *index: int) -> "torch.Generator":
    """PyTorch's generator of a stream, on the CPU, so that every device sees the same draws."""
    import torch  # two seconds, which a download does not need

    return torch.Generator().manual_seed(torch_seed(random_seed, purpose, *index))
