"""`python -m benchmarks.cost` prints what the trainings of the paper's tables and figures cost: counted, not measured.

Operations are counted from the networks of runs/; the rate of two CPU cores is that of benchmarks/results.json. No GPU
was measured: theirs is a share of the peak on their data sheets, the one that this project aims at.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import measure
from benchmarks.asked import Asked, Runs
from benchmarks.material import SIDE
from exemplar.datasets.base import PATCH_PIXELS
from exemplar.use import describe

FILES = (
    "table1_small",
    "table1_medium",
    "table1_large",
    "table3",
    "table4",
    "figure3",
    "figure4",
    "figure5",
    "figure6",
)
RESULTS = Path(__file__).parent / "results.json"
MEASURED = "training {}, against a bare loop over ready tensors"
MODELS = ("64c5-64c5-128f", "64c5-128c5-256c5-512f", "92c5-256c5-512c5-1024f")
CLASSES_MEASURED = 500
# Operations a second in bfloat16 with sums in float32, without sparsity: NVIDIA's data sheets.
PEAKS = {"RTX 4090": 165e12, "H100": 989e12}
SHARE = 0.35
SHARE_OF_EIGHT = 0.9  # of eight times one
HEAD = (
    "| file | trainings | million samples | operations | memory of one, GB | two cores | RTX 4090 | H100 | eight H100 |"
)


@dataclass(frozen=True)
class Cost:
    """Of one training or of several: samples, operations, the most bytes that one needs, seconds of two CPU cores."""

    samples: int
    operations: float
    memory: float
    cpu_seconds: float


def operations(model: str, *, classes: int) -> float:
    """Of a sample, forward and backward: two for a product and its sum; nothing goes back to the image."""
    described = describe.sizes(model, side=PATCH_PIXELS)
    products = [layer.multiply_adds for layer in described] + [described[-1].output[0] * classes]
    return 2.0 * (3 * sum(products) - products[0])


def memory(model: str, *, classes: int, batch: int) -> float:
    """Bytes on the device: windows of 96 x 96, weights with gradients and momenta, maps of a batch."""
    described = describe.sizes(model, side=PATCH_PIXELS)
    weights = sum(layer.parameters for layer in described) + (described[-1].output[0] + 1) * classes
    maps = sum(channels * height * width for channels, height, width in (layer.output for layer in described)) + classes
    return classes * 3 * SIDE**2 + 12 * weights + 6 * batch * maps


def cpu_rates(results: Path) -> dict[str, float]:
    """Operations a second of two CPU cores in the training of each of the paper's networks, as it was measured."""
    rows = {row["name"]: row["ours"] for row in json.loads(results.read_text("utf-8"))}
    return {model: rows[MEASURED.format(model)] * operations(model, classes=CLASSES_MEASURED) for model in MODELS}


def rate(model: str, rates: dict[str, float]) -> float:
    """That of the measured network whose samples cost most nearly as much."""
    work = operations(model, classes=CLASSES_MEASURED)
    near = min(rates, key=lambda known: abs(operations(known, classes=CLASSES_MEASURED) / work - 1))
    return rates[near]


def of(asked: Asked, rates: dict[str, float]) -> Cost:
    """The training of one experiment."""
    model, classes, samples = str(asked.at("model")), int(asked.at("seeds.count")), int(asked.at("surrogate.samples"))
    seen = classes * samples * int(asked.at("train.epochs"))
    work = seen * operations(model, classes=classes)
    held = memory(model, classes=classes, batch=int(asked.at("train.batch_size")))
    return Cost(seen, work, held, work / rate(model, rates))


def together(costs: list[Cost]) -> Cost:
    """Of one training after another."""
    return Cost(
        sum(each.samples for each in costs),
        sum(each.operations for each in costs),
        max(each.memory for each in costs),
        sum(each.cpu_seconds for each in costs),
    )


def spoken(seconds: float) -> str:
    """`3.2 days` or `11 min`."""
    for unit, length in (("years", 365.25 * 86400), ("days", 86400.0), ("h", 3600.0)):
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}" if seconds < 99 * length else f"{seconds / length:.0f} {unit}"
    return f"{max(seconds / 60, 1):.0f} min"


def line(name: str, count: int, cost: Cost) -> str:
    """A row of the table."""
    gpus = [cost.operations / (SHARE * peak) for peak in PEAKS.values()]
    times = [cost.cpu_seconds, *gpus, gpus[-1] / (8 * SHARE_OF_EIGHT)]
    cells = [f"`{name}.sh`", count, f"{cost.samples / 1e6:,.0f}", f"{cost.operations:.1e}", f"{cost.memory / 1e9:.1f}"]
    return f"| {' | '.join(map(str, [*cells, *map(spoken, times)]))} |"


def table() -> Iterable[str]:
    """The lines of the table: a row for each file of runs/ that repeats the paper."""
    rates = cpu_rates(RESULTS)
    yield HEAD
    yield "|---" * HEAD.count(" |") + "|"
    with TemporaryDirectory() as folder:
        runs = Runs(Path(folder) / "runs of")
        for name in FILES:
            costs = [of(each, rates) for each in runs.ask(name)]
            yield line(name, len(costs), together(costs))


if __name__ == "__main__":
    measure.take_no_options("cost", __doc__)
    print("\n".join(table()))
