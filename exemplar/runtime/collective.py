"""Several processes, one training: each computes its rows of every batch, and they add up what they found.

A plain sum after the backward pass: no wrapper stands around the network, and one process takes the same path.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from exemplar.runtime.device import Compute


class PartnerLostError(Exception):
    """Another process of the training has ended or does not answer."""


@contextmanager
def answered() -> Iterator[None]:
    """Raise PartnerLostError when others do not answer in the block. All end then, and torchrun says so with SIGTERM.

    It would interrupt the closing of the run in MLflow.
    """
    try:
        yield
    except RuntimeError as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise PartnerLostError(str(error)) from None


def rows(count: int, compute: Compute) -> tuple[slice, int]:
    """Which rows of a batch of `count` this process computes, and how many of them count.

    With fewer rows than processes some compute another one's row, which then counts for nothing.
    """
    first, last = (count * (compute.rank + step) // compute.processes for step in (0, 1))
    start = min(first, count - 1)
    return slice(start, max(last, start + 1)), last - first


def add_up(tensors: Iterable[Tensor], compute: Compute) -> None:
    """Replace each tensor by its sum over all processes, in place."""
    if compute.processes > 1:
        with answered():
            for work in [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()


def from_first(content: bytes, compute: Compute) -> bytes:
    """What process 0 gave, in every process."""
    with answered():
        length = torch.tensor(len(content), device=compute.device)
        distributed.broadcast(length, 0)
        given = torch.empty(int(length), dtype=torch.uint8, device=compute.device)
        if compute.rank == 0:
            given.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        distributed.broadcast(given, 0)
    return given.cpu().numpy().tobytes()
