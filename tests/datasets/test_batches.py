"""Pickles that want more than a batch of CIFAR holds."""

import os
import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets.batches import to_batch, unpickle
from exemplar.errors import UserError


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    "function", [os.system, eval, exec, getattr, np.load, np.memmap, np.frombuffer, np.dtype, bytearray, os.mkdir]
)
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_something_is_refused(
    function: Callable[..., object], protocol: int, tmp_path: Path
) -> None:
    """Nothing is called but the stand-ins for what an array of bytes needs."""
    victim = tmp_path / "victim"
    content = pickle.dumps({b"data": Calls(function, str(victim))}, protocol=protocol)
    with pytest.raises(
        UserError, match=r"batch is no batch of CIFAR's format \(UnpicklingError: (it asks|the type|the instruction)"
    ):
        unpickle(content, name="batch")
    assert not victim.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of 2 billion places
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f",  # a byte array of 8 exabytes
        b"\x80\x02cnumpy\nndarray\nK\x01\x85R.",
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R.",
        b"\x80\x02}q\x00(h\x00h\x00u.",
        b"Pid\n.",
        b"}]s.",
        b"\x80\x05\x96" + (1_500_000_000).to_bytes(8, "little"),
        b"\x80\x02" + b"]" * 300_000 + b".",  # each a list of its own
        # the same text made bytes again and again
        b"\x80\x02X\x10\x27\x00\x00"
        + b"a" * 10_000
        + b"q\x000"
        + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 90_000,
        b"\x80\x02(" + b"(" * 300_000,
    ],
)
def test_a_pickle_that_is_broken_is_refused_at_once(content: bytes) -> None:
    """Whatever a broken or hostile pickle does, it ends in one line, and without taking memory."""
    began = time.process_time()
    with pytest.raises(UserError, match="batch is no batch of CIFAR's format"):
        unpickle(content, name="batch")
    assert time.process_time() - began < 6  # two on a busy core


def test_flipped_bits_give_a_batch_or_one_line() -> None:
    """500 pickles with one to eight random bits flipped, read to the end: a batch or a UserError, nothing else."""
    good = pickle.dumps({b"labels": [0, 1], b"data": np.zeros((2, 3072), np.uint8), b"x": [b"a"]}, protocol=2)
    generator = random.Random(5)
    refused = 0
    for _ in range(500):
        content = bytearray(good)
        for _ in range(generator.randint(1, 8)):
            place = generator.choice([generator.randrange(200), len(good) - 1 - generator.randrange(100)])
            content[place] ^= 1 << generator.randrange(8)
        try:
            to_batch(unpickle(bytes(content), name="batch"), classes=2, name="batch")
        except UserError:
            refused += 1
    assert refused > 250
