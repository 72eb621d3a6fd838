"""`python -m benchmarks.softmax` prints what a step of a softmax head alone costs, with all scores held and in pieces.

The pieces are PyTorch's `linear_cross_entropy`, which holds the scores of some rows of a batch at a time. Each way runs
in a process of its own, on one thread; seconds are the processor's, memory is the process's high-water mark.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import psutil
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import LackingError
from exemplar.models.head import Head
from exemplar.runtime.device import Compute

WIDTHS, PRECISIONS = (128, 512), (torch.float32, torch.bfloat16)
CLASSES = {64: (8_000, 16_000, 100_000, 1_000_000), 1024: (8_000, 16_000, 100_000)}  # by batch
MOST_NUMBERS = 2e8  # of scores or weights; a million classes with a batch of 1,024 or 512 features need 10 GB and more
ROWS = 128  # of a larger batch at a time
LEAST_SECONDS, MOST_STEPS = 0.5, 10
COLUMNS = "| width | batch | classes | precision | plain, ms, GB | as in training | in pieces | of 128 rows | apart |"
Way = Callable[[Head, Tensor, Tensor], Tensor]
"""From a head, features [b width] and targets to the mean loss."""


@dataclass(frozen=True)
class Case:
    """The size of a step."""

    width: int
    batch: int
    classes: int
    precision: torch.dtype


@dataclass(frozen=True)
class Cost:
    """Of a step: seconds of the processor, GB beside weights and features, the loss and the gradients.

    Of the weights they are those of the batch's classes.
    """

    seconds: float
    memory: float
    loss: float
    gradients: list[np.ndarray]


def plain(head: Head, features: Float[Tensor, "b width"], targets: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """A product of matrices and the softmax of all its scores, in float32."""
    scores = functional.linear(features, head.scores.weight.flatten(1), head.scores.bias)
    return functional.cross_entropy(scores.float(), targets)


def as_in_training(head: Head, features: Float[Tensor, "b width"], targets: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """What `Classifier.forward` does: the right answers are counted, too."""
    scores = head(features[:, :, None, None]).flatten(1)
    loss = functional.cross_entropy(scores.float(), targets)
    (scores.argmax(1) == targets).sum()
    return loss


def in_pieces(
    head: Head, features: Float[Tensor, "b width"], targets: Int64[Tensor, " b"], *, rows: int | None = None
) -> Float[Tensor, ""]:
    """The scores of so many rows at a time, or of as many as PyTorch chooses; it has no autocast.

    Raises LackingError where PyTorch is older than 2.14.
    """
    try:
        from torch.nn import LinearCrossEntropyOptions
    except ImportError:
        raise LackingError(f"PyTorch {torch.__version__} has no LinearCrossEntropyOptions") from None
    method = "auto" if rows is None else None
    weight, bias = head.scores.weight.flatten(1), head.scores.bias
    assert bias is not None
    loss: Tensor = functional.linear_cross_entropy(
        features,
        weight.to(features.dtype),
        targets,
        linear_bias=bias.to(features.dtype),
        options=LinearCrossEntropyOptions(batch_chunk_size=rows, chunking_method=method),
    )
    return loss


WAYS: dict[str, Way] = {
    "plain": plain,
    "as in training": as_in_training,
    "in pieces": in_pieces,
    "of 128 rows": partial(in_pieces, rows=ROWS),
}


class Step:
    """A head without dropout, features of a batch, and what a step leaves: the loss, and gradients beside them."""

    def __init__(self, case: Case, compute: Compute) -> None:
        generator = torch.Generator().manual_seed(0)
        self.head, self.compute = Head(case.width, case.classes).eval(), compute
        with torch.no_grad():
            for numbers in self.head.parameters():
                numbers.normal_(0, 0.05, generator=generator)
        self.head.to(compute.device).to(memory_format=torch.channels_last)
        features = torch.randn(case.batch, case.width, generator=generator).to(compute.device, case.precision)
        self.features = features.requires_grad_()
        self.targets = torch.randint(case.classes, (case.batch,), generator=generator).to(compute.device)

    def run(self, way: Way) -> Float[Tensor, ""]:
        """Forward and backward."""
        self.head.zero_grad()
        self.features.grad = None
        with self.compute.autocast():
            loss = way(self.head, self.features, self.targets)
        loss.backward()  # type: ignore[no-untyped-call]  # no types
        return loss.detach()

    def gradients(self) -> list[Tensor]:
        """Of the features, of the weights of the batch's classes, of the biases."""
        scores = self.head.scores
        assert self.features.grad is not None
        assert scores.weight.grad is not None
        assert scores.bias is not None
        assert scores.bias.grad is not None
        return [self.features.grad.float(), scores.weight.grad[self.targets].flatten(1), scores.bias.grad]


def measure(way: str, case: Case) -> Cost:
    """Steps in this process, after one that does not count unless it takes five seconds."""
    torch.set_num_threads(1)
    compute = Compute(torch.device("cpu"), case.precision)
    Step(Case(8, 8, 8, case.precision), compute).run(WAYS[way])  # loads what the first step needs
    step, before = Step(case, compute), psutil.Process().memory_info().rss
    spent: list[float] = []
    while not spent or (sum(spent[1:]) < LEAST_SECONDS and spent[0] < 5 and len(spent) <= MOST_STEPS):
        started = time.process_time()
        loss = step.run(WAYS[way])
        spent.append(time.process_time() - started)
    memory = (high_water() - before) / 1e9
    gradients = [each.numpy() for each in step.gradients()]
    return Cost(statistics.median(spent[1:] or spent), memory, float(loss), gradients)


def high_water() -> int:
    """The most bytes that this process ever held."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of gradients, as a share of the largest gradient."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def cases() -> Iterator[Case]:
    """All sizes, small batches first."""
    for batch, numbers in CLASSES.items():
        for classes, width in product(numbers, WIDTHS):
            if classes * max(batch, width) <= MOST_NUMBERS:
                yield from (Case(width, batch, classes, precision) for precision in PRECISIONS)


def alone(way: str, case: Case) -> Cost:
    """Measured in a fork of this process, which has computed nothing."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as fresh:
        return fresh.submit(measure, way, case).result()


def line(case: Case) -> str:
    """A row of the table; times of the other ways are in those of the plain one."""
    ways = [way for way in WAYS if way != "of 128 rows" or case.batch > ROWS]
    costs = {way: alone(way, case) for way in ways}
    first = costs["plain"]
    told = [f"{1e3 * first.seconds:,.1f}, {first.memory:.2f}"]
    told += [f"{costs[way].seconds / first.seconds:.2f} x, {costs[way].memory:.2f}" for way in ways[1:]]
    told += ["–"] * (len(WAYS) - len(ways))
    loss = abs(costs["in pieces"].loss / first.loss - 1)
    gradients = max(
        apart(torch.from_numpy(one), torch.from_numpy(other))
        for one, other in zip(costs["in pieces"].gradients, first.gradients, strict=True)
    )
    precision = str(case.precision).removeprefix("torch.")
    sizes = f"| {case.width} | {case.batch:,} | {case.classes:,} | {precision}"
    return f"{sizes} | {' | '.join(told)} | {loss:.0e}, {gradients:.0e} |"


if __name__ == "__main__":
    print(COLUMNS)
    print("|---" * COLUMNS.count(" |") + "|", flush=True)
    for case in cases():
        print(line(case), flush=True)
