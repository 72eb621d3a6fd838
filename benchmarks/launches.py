"""`python -m benchmarks.launches` counts what a step asks a GPU for; each operation that computes is a launch or more.

The CPU is asked for the same operations, given the optimizers of a GPU and a batch that it does not cut into pieces.
They do not depend on the width of the layers: a network with as many layers stands for 64c5-128c5-256c5-512f.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import material
from benchmarks.gpu import networks
from exemplar.methods.exemplar import RECIPES
from exemplar.runtime.device import Compute
from exemplar.surrogate.kernels.geometry import CHUNK
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.captured import STEPS_BEFORE, Replay, Steps
from exemplar.training.loop import Observed, observed_step
from exemplar.training.order import BATCHES_AT_ONCE, batches, draw_order
from exemplar.training.state import TrainState

MODEL = "4c5-8c5-12c5-16f"
CLASSES, SAMPLES = 400, 4  # more than the rows of the batches that are asked for together, as in any training
FREE = ("empty", "new_empty", "empty_like", "empty_strided", "_unsafe_view", "lift_fresh")  # and views: no launch


class Asked(TorchDispatchMode):
    """Counts the operations of its block that compute."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # no types
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        name = func.overloadpacket.__name__
        self.count += int(func.namespace == "aten" and not func.is_view and name not in FREE)
        return func(*args, **(kwargs or {}))


class OnAGpu(Compute):
    """A CPU whose optimizers compute as a GPU's do."""

    def autocast_step(self) -> AbstractContextManager[object]:
        """Under autocast."""
        return self.autocast()


def asked(work: Callable[[], object]) -> int:
    """How many operations some work asks for."""
    counter = Asked()
    with counter:
        work()
    return counter.count


def nothing(work: Callable[[], None]) -> Replay:
    """A capture whose replay asks for nothing, as what it stands for is one launch."""
    work()
    return lambda: None


def begun(recipe: str, data: SurrogateSet, compute: Compute) -> TrainState:
    """A training of the medium network as it is on a GPU."""
    learner = networks.draw(recipe, MODEL, CLASSES)
    learner.begin(data)
    state = TrainState(learner, networks.settings(recipe, CHUNK), captured=True)
    for group in state.optimizer.param_groups if isinstance(state.optimizer, SGD) else []:
        group["fused"] = True
    return state


def counted(recipe: str, precision: torch.dtype) -> dict[str, float]:
    """Of a step: rendering, all of it, and what is asked for around a replay in its place."""
    data, compute = material.surrogate_set(CLASSES, SAMPLES), OnAGpu(torch.device("cpu"), precision)
    state = begun(recipe, data, compute)
    order = draw_order(data, networks.settings(recipe, CHUNK), random_seed=0, epoch=0, device=compute.device)
    ready = next(batches(order, CHUNK))
    one_order = asked(lambda: order[: BATCHES_AT_ONCE * CHUNK]) / BATCHES_AT_ONCE
    step = partial(observed_step, state, data, compute=compute)
    signal = torch.zeros(())

    def run(steps: Steps[Observed]) -> None:
        state.set_rate(0.1)
        outcome, reached = steps(ready)
        state.progress.add(outcome, rows=len(ready))
        signal.add_(reached)

    found = {"rendering": float(asked(lambda: data.render(ready)))}
    for name, capture in (("a step", None), ("a step around its replay", nothing)):
        steps = Steps(step, batch_size=CHUNK, capture=capture, label=recipe)
        for _ in range(STEPS_BEFORE + 1):
            run(steps)
        found[name] = asked(partial(run, steps)) + one_order
    found["the optimizer"] = asked(lambda: under(compute, state))
    return found


def under(compute: Compute, state: TrainState) -> None:
    """A step of the optimizer."""
    with compute.autocast_step():
        state.optimizer.step()


def main() -> None:
    """Count both recipes in both precisions."""
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}")
    for recipe in RECIPES:
        for precision in (torch.float32, torch.bfloat16):
            told = ", ".join(f"{name} {count:.4g}" for name, count in counted(recipe, precision).items())
            print(f"{recipe}, {str(precision).removeprefix('torch.')}: {told}")


if __name__ == "__main__":
    main()
