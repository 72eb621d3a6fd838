"""Random streams: the same for the same words, and no draw shared by two that differ in anything."""

import itertools

import numpy as np
import torch

from exemplar.datasets.streams import numpy_stream, torch_seed, torch_stream

WORDS = [
    (seed, purpose, *index)
    for seed, purpose, index in itertools.product(range(4), ("seeds", "table"), [(), (0,), (1,)])
]


def test_no_two_streams_share_a_draw() -> None:
    """Neighbouring random seeds, purposes and folds: 24 streams, and 2,400 numbers that are all different."""
    drawn = np.concatenate([numpy_stream(*words).random(100) for words in WORDS])
    assert len(np.unique(drawn)) == len(drawn)
    assert len({torch_seed(*words) for words in WORDS}) == len(WORDS)


def test_a_stream_is_the_same_every_time() -> None:
    """In NumPy and in PyTorch."""
    assert numpy_stream(3, "table", 1).random() == numpy_stream(3, "table", 1).random()
    one, again = (torch.rand(5, generator=torch_stream(3, "table", 1)) for _ in range(2))
    assert torch.equal(one, again)
