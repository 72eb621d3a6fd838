"""`python -m benchmarks.million_curve` measures a step against the number of classes and draws docs/scaling.png.

Processor time on one thread, the median of some steps of the small network under `release`, with all classes in the
softmax and with some that are drawn.
"""

import statistics
import time
from dataclasses import replace
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks import measure
from benchmarks.million import SETTINGS, SMALL, Steps
from exemplar.runtime import device

WHOLE = (1_000, 8_000, 16_000, 32_000, 125_000, 1_000_000)
DRAWN = (16_000, 32_000, 125_000, 1_000_000, 4_000_000)
STEPS = 15
PLACE = Path("docs/scaling.png")

Curve = dict[int, float]


def milliseconds(classes: int, negatives: int | None) -> float:
    """Of a step in the median, after one that does not count."""
    compute = device.choose(device="cpu", precision=measure.precision())
    torch.set_num_threads(1)
    steps, found = Steps(SMALL, "release", classes, compute, replace(SETTINGS, negatives=negatives)), []
    for _ in range(STEPS + 1 if negatives or classes < WHOLE[-1] else 4):
        started = time.process_time()
        steps.run(1)
        found.append(1000 * (time.process_time() - started))
    return statistics.median(found[1:])


def draw(whole: Curve, drawn: Curve, place: Path) -> None:
    """Both curves on logarithmic axes."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.loglog(list(whole), list(whole.values()), "o-", label="softmax over all classes")
    axes.loglog(list(drawn), list(drawn.values()), "s-", label=f"train.negatives={SETTINGS.negatives}")
    axes.set(xlabel="classes", ylabel="milliseconds a step", title=f"{SMALL}, batches of 64, one thread")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(place, dpi=120)


def main() -> None:
    """Measure, print, draw."""
    whole = {classes: milliseconds(classes, None) for classes in WHOLE}
    drawn = {classes: milliseconds(classes, SETTINGS.negatives) for classes in DRAWN}
    for name, curve in (("all", whole), ("drawn", drawn)):
        print(name, {classes: round(value, 1) for classes, value in curve.items()}, flush=True)
    draw(whole, drawn, PLACE)


if __name__ == "__main__":
    measure.take_no_options("million_curve", __doc__)
    main()
