"""`python -m benchmarks.scale` prints what 1.28 and 100 million pictures take: counted from bytes and rates, not run.

Rates of the CPU are those that were measured on one core of an AMD EPYC, those of GPUs the share of their peak that
benchmarks/cost.py takes.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import cost, measure
from benchmarks.material import SIDE
from exemplar.surrogate.sets import MOST_SAMPLES
from exemplar.use import describe

MODELS = ("64c5-64c5-128f", "64c5-128c5-256c5-512f")
BATCH, NEGATIVES, SAMPLES = 64, 8192, 100  # of each class, once
IMAGE = 3 * SIDE**2  # bytes, and as many of a window: the release's ranges reach further than an image
PICTURE = 110_000  # bytes of a JPEG: the mean of ImageNet's
STATES = 3  # the newest, the one before it, and the one that is being written
CORES = 64  # of four machines, as in runs/slurm/cut.sh
# Seconds of one core and bytes of memory, as docs/log.md has them.
LISTED, DECODED, NAMED = 20.7e-6, 3.4e-3, 470  # of a picture in a tar shard: its name; its pixels and their digest
HASHED = 0.15 / 108e6  # of a byte
# Rows of benchmarks/results.json, of 100,000 images of 96 x 96.
ENERGY, CUT, IMAGES_CUT = "seeds of 100,000 images of 96 x 96", "the same in 2 processes and in one", 100_000
RENDERED = "surrogate samples, one thread, against kornia"


@dataclass(frozen=True)
class Case:
    """So many pictures, and so many of them a class each."""

    title: str
    pictures: float
    classes: float


CASES = (
    Case("1.28 million pictures, all of them classes", 1.28e6, 1.28e6),
    Case("100 million, 4 million of them", 100e6, 4e6),
    Case("100 million, all of them", 100e6, 100e6),
)


def room(size: float) -> str:
    """`1.4 GB` or `2.8 TB`."""
    unit, length = ("TB", 1e12) if size >= 1e12 else ("GB", 1e9)
    return f"{size / length:.2g} {unit}" if size < 99.5 * length else f"{size / length:.0f} {unit}"


def head(case: Case, *, model: str, copies: int = 1) -> float:
    """Bytes of the rows of all classes and their momenta, so many times."""
    return copies * 8 * case.classes * describe.sizes(model, side=SIDE)[-1].output[0]


def on_card(case: Case, *, model: str) -> float:
    """Bytes that lie on the GPU of a training."""
    return case.classes * IMAGE + head(case, model=model)


def files(case: Case) -> float:
    """Bytes of images and windows."""
    return (case.pictures + case.classes) * IMAGE


def cut_seconds(case: Case, *, cores: int) -> float:
    """From pictures to images, seeds and windows; names are listed and the mean sample is rendered on one core."""
    rows = {row["name"]: row for row in json.loads(cost.RESULTS.read_text("utf-8"))}
    energy, cut = rows[ENERGY]["ours"] / IMAGES_CUT, rows[CUT]["theirs"] / IMAGES_CUT
    share = rows[CUT]["ours"] / rows[CUT]["theirs"] if cores == 2 else 1 / cores
    divided = case.pictures * energy + case.classes * (cut - energy)
    mean = min(MOST_SAMPLES, SAMPLES * case.classes) / rows[RENDERED]["ours"]
    return float(case.pictures * (LISTED + DECODED / cores) + share * divided + mean)


def hash_seconds(case: Case) -> float:
    """Of one core."""
    return HASHED * (case.pictures * PICTURE + files(case))


def train_seconds(case: Case, *, model: str, rate: float) -> float:
    """At so many operations a second."""
    return SAMPLES * case.classes * cost.operations(model, classes=BATCH + NEGATIVES) / rate


def line(name: str, value: Callable[[Case], float], shown: Callable[[float], str]) -> str:
    """A row of the table."""
    return f"| {name} | {' | '.join(shown(value(case)) for case in CASES)} |"


def bytes_lines() -> Iterator[str]:
    """Rows of disk and memory."""
    yield line("disk: pictures of 110 KB", lambda case: case.pictures * PICTURE, room)
    yield line("disk: images and windows", files, room)
    yield line("memory: names and digests of the pictures", lambda case: case.pictures * NAMED, room)
    for model in MODELS:
        wide = f"{describe.sizes(model, side=SIDE)[-1].output[0]} units"
        yield line(f"memory or disk: rows and momenta, {wide}", partial(head, model=model), room)
        yield line(f"disk: three states, {wide}", partial(head, model=model, copies=STATES), room)
        yield line(f"a GPU: windows, rows and momenta, {wide}", partial(on_card, model=model), room)


def times_lines() -> Iterator[str]:
    """Rows of times."""
    for cores in (2, CORES):
        yield line(f"from pictures to windows, {cores} cores", partial(cut_seconds, cores=cores), cost.spoken)
    yield line("md5 of pictures, images and windows, one core", hash_seconds, cost.spoken)
    one = cost.SHARE * cost.PEAKS["H100"]
    for model in MODELS:
        cpu = cost.rate(model, cost.cpu_rates(cost.RESULTS))
        for machine, rate in (("two cores", cpu), ("H100", one), ("eight H100", 8 * cost.SHARE_OF_EIGHT * one)):
            yield line(f"{model}, {machine}", partial(train_seconds, model=model, rate=rate), cost.spoken)


def table() -> Iterator[str]:
    """The lines of the table."""
    yield f"| | {' | '.join(case.title for case in CASES)} |"
    yield "|---" * (len(CASES) + 1) + "|"
    yield from bytes_lines()
    yield from times_lines()


if __name__ == "__main__":
    measure.take_no_options("scale", __doc__)
    print("\n".join(table()))
