"""Several processes, one training: each computes its rows of every batch, and they add up what they found.

A plain sum after the backward pass: no wrapper stands around the network, and one process takes the same path.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from exemplar.runtime.device import Compute

Answer = TypeVar("Answer")


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


@dataclass(frozen=True)
class Share:
    """The `rows` of a batch of `whole` that one of several processes computes; `counted` of them count.

    With fewer rows than processes some compute another one's row, which then counts for nothing.
    """

    rows: slice
    whole: int
    counted: int
    processes: int


def share(count: int, compute: Compute) -> Share:
    """The share of this process in a batch of `count`."""
    first, last = (count * (compute.rank + step) // compute.processes for step in (0, 1))
    start = min(first, count - 1)
    return Share(slice(start, max(last, start + 1)), count, last - first, compute.processes)


class Total(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(_: object, tensor: Tensor) -> Tensor:
        """The sum of what every process has."""
        return summed(tensor)

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        """Every process's loss rests on the tensor of each."""
        return summed(gradient)


def summed(tensor: Tensor) -> Tensor:
    """A new tensor, the sum over all processes."""
    copied = tensor.contiguous().clone()
    with answered():
        distributed.all_reduce(copied)
    return copied


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes, through which gradients flow back to each."""
    found: Tensor = Total.apply(tensor)
    return found


def add_up(tensors: Iterable[Tensor], compute: Compute) -> None:
    """Replace each tensor by its sum over all processes, in place."""
    if compute.processes > 1:
        with answered():
            for work in [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()


def agreed(answer: bool, compute: Compute) -> bool:
    """The answer of process 0, in every process."""
    if compute.processes == 1:
        return answer
    return from_first(bytes([answer]), compute) == b"\1"


def answers(answer: Answer, compute: Compute) -> list[Answer]:
    """What each process answers, in every process."""
    if compute.processes == 1:
        return [answer]
    given: list[Any] = [None] * compute.processes
    with answered():
        distributed.all_gather_object(given, answer)
    return given


def same_path(path: Path | None, compute: Compute) -> Path | None:
    """The path that process 0 has, in every process; all of them see the same files there."""
    if compute.processes == 1:
        return path
    given = os.fsdecode(from_first(os.fsencode(path or os.devnull), compute))
    return Path(given) if given != os.devnull else None


def same_numbers(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by that of process 0, in place."""
    with answered():
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


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
