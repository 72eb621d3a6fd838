"""A training step at a million classes against one at 8,000 with the same settings, and its memory.

One more row is a step at ten million classes, their rows mapped from a file, against one at a million in memory.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import material, measure
from benchmarks.measure import Rows, Works, anonymous_memory, in_process, in_turn, limit, threads
from exemplar.methods.exemplar import untrained
from exemplar.models.architecture import parse
from exemplar.runtime.device import Compute, choose
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training import rows as head_rows
from exemplar.training.contract import Settings, TrainInputs
from exemplar.training.loop import train_step
from exemplar.training.sampled import Sampled
from exemplar.training.state import TrainState

BATCH, NEGATIVES, WINDOWS = 64, 8192, 500
FEW, MANY, MAPPED = 8_000, 1_000_000, 10_000_000
SMALL, MEDIUM = "64c5-64c5-128f", "64c5-128c5-256c5-512f"
# Steps of one run, and how often as long a step at a million classes may take. The rows of the medium network under
# `fast` would take 12 GB with their momenta.
ROWS = {(SMALL, "release"): (20, 1.5), (SMALL, "fast"): (20, 1.5), (MEDIUM, "release"): (5, 1.2)}
MOST_MEMORY = 0.3
# The mapped rows take 10 GB of the disk of the working folder. A step writes to some 2,250 pages, and Linux slows down
# who writes to more than the disk takes, once they are a seventh of the memory: after some 350 steps with 23 GB of it.
MAPPED_STEPS, MAPPED_MOST = 10, 1.3
SETTINGS = Settings(
    epochs=1, batch_size=BATCH, learning_rate=0.01, momentum=0.9, weight_decay=0.004, negatives=NEGATIVES
)


class Steps:
    """A training behind its first pass, in which rows would start from samples: here they are drawn."""

    def __init__(
        self,
        model: str,
        recipe: str,
        classes: int,
        compute: Compute,
        settings: Settings = SETTINGS,
        checkpoint: Path | None = None,
    ) -> None:
        self.data, self.compute = surrogate_set(classes), compute
        inputs = TrainInputs(
            architecture=parse(model),
            surrogate=self.data,
            mean=torch.full((3, 32, 32), 0.5),
            images=self.data.windows.numpy(),
            options={},
            settings=settings,
            recipe=recipe,
            random_seed=0,
            compute=compute,
            checkpoint=checkpoint,
        )
        learner = untrained(inputs).to(memory_format=torch.channels_last).train()
        if isinstance(learner, Sampled):
            learner.start_from_samples = False
            for table in learner.tables:
                if not table.is_mapped:
                    table.rows.normal_(0, 0.01)
        self.state, self.generator = TrainState(learner, settings), torch.Generator().manual_seed(0)

    def run(self, count: int) -> None:
        """So many steps on random samples."""
        for _ in range(count):
            self.state.set_rate(0.1)
            train_step(self.state, self.data, self.batch(), compute=self.compute)

    def batch(self) -> torch.Tensor:
        """Samples of any classes."""
        return torch.randint(len(self.data), (BATCH,), generator=self.generator)


def works(*, quick: bool, repeats: int) -> Works:
    """Time and memory for each network under each recipe."""
    many = 20_000 if quick else MANY
    for (model, recipe), (steps, most) in ROWS.items():
        yield partial(times, model, recipe, many, 1 if quick else steps, most=most, repeats=repeats)
        yield partial(memory, model, recipe, many, repeats=repeats)
    steps = 1 if quick else MAPPED_STEPS
    yield partial(mapped, many, many if quick else MAPPED, steps, repeats=repeats)


def surrogate_set(classes: int) -> SurrogateSet:
    """A sample for every class, cut out of a few hundred windows."""
    drawn = material.surrogate_set(WINDOWS, 1)
    seed = torch.arange(classes) % WINDOWS
    by_seed = {name: getattr(drawn, name)[seed] for name in ("window_index", "centre", "side")}
    return replace(drawn, label=torch.arange(classes), **by_seed)


def times(model: str, recipe: str, many: int, steps: int, *, most: float, repeats: int) -> Rows:
    """The same number of steps at both numbers of classes, in turn, on one thread."""
    compute = choose(device="cpu", precision=measure.precision())
    with threads(1):
        few, all_of_them = (Steps(model, recipe, classes, compute) for classes in (FEW, many))
        short, long = in_turn(lambda: few.run(steps), lambda: all_of_them.run(steps), repeats=repeats)
    ratios = [slow / fast for slow, fast in zip(long, short, strict=True)]
    name = f"a step of {model} under {recipe} at {many:,} classes, in steps at {FEW:,}, one thread"
    yield limit(name, ratios, most=most, unit="times")


def mapped(many: int, most_of_all: int, steps: int, *, repeats: int) -> Rows:
    """Steps with rows in a file against steps with fewer in memory, in turn, on one thread."""
    compute, usual = choose(device="cpu", precision=measure.precision()), head_rows.SHARE_OF_MEMORY
    with threads(1), TemporaryDirectory(dir=Path.cwd()) as folder:
        in_memory = Steps(SMALL, "release", many, compute)
        head_rows.SHARE_OF_MEMORY = 0.0
        in_file = Steps(SMALL, "release", most_of_all, compute, checkpoint=Path(folder, "state.pt"))
        head_rows.SHARE_OF_MEMORY = usual
        os.sync()  # the rows were drawn and are written once
        short, long = in_turn(lambda: in_memory.run(steps), lambda: in_file.run(steps), repeats=repeats)
    ratios = [slow / fast for slow, fast in zip(long, short, strict=True)]
    name = f"a step of {SMALL} under release at {most_of_all:,} classes in a file, in steps at {many:,} in memory"
    yield limit(name, ratios, most=MAPPED_MOST, unit="times")


def memory(model: str, recipe: str, many: int, *, repeats: int) -> Rows:
    """What a step takes beside what is there before the first, in fresh processes."""
    found = [in_process(before_steps, model, recipe, many) for _ in range(repeats)]
    values = [peak - before for before, peak in found]
    yield limit(f"the same: memory beside weights and momenta, {model}, {recipe}", values, most=MOST_MEMORY, unit="GB")


def before_steps(model: str, recipe: str, classes: int) -> float:
    """The memory of this process before the first of some steps, weights and momenta in it."""
    steps = Steps(model, recipe, classes, choose(device="cpu", precision=measure.precision()))
    learner = steps.state.model
    for rows in (*learner.state_dict().values(), *(table.rows for table in learner.tables)):
        rows.add_(0)  # so that every page is there
    before = anonymous_memory()
    steps.run(3)
    return before
