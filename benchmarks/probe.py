"""The probe's SVMs on generated features of the paper's sizes, against LinearSVC and multi-core liblinear.

LinearSVC runs a part of the problems and its time is scaled to all of them: each function says which part.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks import material
from benchmarks.measure import Rows, Works, check_same, durations, in_process, in_turn, limit
from benchmarks.svms import Problem, costs, draw, first_class, liblinear, linear_svc
from exemplar.datasets.base import Labeled
from exemplar.params.load import load_params
from exemplar.probe import protocol, svm
from exemplar.probe.features import Features
from exemplar.runtime import device

STL10_CHOSEN = (4, 25, 45)  # of the 50 values of C: a small, a middle and a large one stand for all
CIFAR10_CHOSEN = (4, 14, 24)  # of 30


def works(*, quick: bool, repeats: int) -> Works:
    """STL-10's rows, CIFAR-10's, Caltech-101's and Caltech-256's."""
    for work in (stl10, cifar10, cifar10_memory, caltech101, caltech256_memory, against_liblinear):
        yield partial(work, quick=quick, repeats=repeats)


def check_optimum(problem: Problem, classes: Sequence[int], chosen: Sequence[int]) -> None:
    """Both at the same optimum, for some classes and values of C."""
    ours, theirs = problem.solve(), linear_svc(problem, classes, chosen)
    pairs = [(index, label) for index in chosen for label in classes]
    for (index, label), weights in zip(pairs, theirs, strict=True):
        check_near(problem, ours[index, label], torch.from_numpy(weights), label=label, cost=problem.costs[index])


def check_near(
    problem: Problem, ours: Float[Tensor, " d+1"], theirs: Float[Tensor, " d+1"], *, label: int, cost: float
) -> None:
    """Ours not above theirs by more than a millionth, and theirs within a hundredth of ours."""
    mine, other = (problem.objective(weights, label=label, cost=cost) for weights in (ours, theirs))
    check_same(f"objective at C = {cost:g}: {mine} and {other}", other * (1 + 1e-6) >= mine >= other * (1 - 1e-2))


def stl10_fold(*, quick: bool, fold: int = 0) -> Problem:
    """A fold with the C that are tried on it."""
    count, width = (60, 100) if quick else (1000, 3840)
    return draw(count, width, 10, costs=costs(2e-4, 2e-1, 50), intercept_scaling=5.0, seed=fold)


def stl10(*, quick: bool, repeats: int) -> Rows:
    """10 folds x 50 C of 1,000 x 3,840, 8,000 test rows scored; LinearSVC: one fold at 3 of the C, x 500 / 3."""
    problems = [stl10_fold(quick=quick, fold=fold) for fold in range(10)]
    images = material.svm_features(80 if quick else 8000, problems[0].features.shape[1], 10, random_seed=99)[0]
    check_optimum(problems[0], (0, 1), STL10_CHOSEN)

    def measure() -> list[Tensor]:
        return [svm.decide(problem.solve(), images, problem.intercept_scaling).argmax(1) for problem in problems]

    yield limit(
        "STL-10's probe, 10 folds x 50 C, 1,000 x 3,840", in_turn(measure, repeats=repeats)[0], most=60, unit="s"
    )
    yield durations(
        "STL-10's SVMs, against LinearSVC",
        lambda: [problem.solve() for problem in problems],
        lambda: linear_svc(problems[0], range(10), STL10_CHOSEN),
        times=(1, len(problems) * len(problems[0].costs) / len(STL10_CHOSEN)),
        target=30,
        repeats=repeats,
    )


def cifar10(*, quick: bool, repeats: int) -> Rows:
    """One of two halves of 50,000 x 3,840 at 30 C; LinearSVC: one class at a low, a middle and a high C, x 100."""
    count, width = (300, 60) if quick else (25_000, 3840)
    problem = draw(count, width, 10, costs=costs(1e-3, 1.0, 30), intercept_scaling=1.0)
    check_optimum(problem, (0,), CIFAR10_CHOSEN)
    yield durations(
        "CIFAR-10's SVMs, 25,000 x 3,840, against LinearSVC",
        problem.solve,
        lambda: linear_svc(problem, (0,), CIFAR10_CHOSEN),
        times=(1, 10 * len(problem.costs) / len(CIFAR10_CHOSEN)),
        target=20,
        repeats=repeats,
    )


def cifar10_memory(*, quick: bool, repeats: int) -> Rows:  # memory is the same every time
    """All of the probe but the network, once."""
    count, width = (240, 60) if quick else (60_000, 3840)
    with tempfile.TemporaryDirectory() as folder:
        peaks = [in_process(probe_mapped, Path(folder) / "features", count, width)[1] for _ in range(min(repeats, 1))]
    yield limit(
        "CIFAR-10's probe, 60,000 x 3,840, 2-fold at 10 C: memory beside mapped features", peaks, most=4, unit="GB"
    )


def caltech256_memory(*, quick: bool, repeats: int) -> Rows:  # memory is the same every time
    """The largest published protocol, one fold: 7,680 training and 22,100 test images, the large network, once."""
    count, width, classes = (300, 400, 4) if quick else (29_780, 39_564, 256)
    with tempfile.TemporaryDirectory() as folder:
        work = partial(probe_wide, Path(folder) / "features", count, width, classes)
        peaks = [in_process(work)[1] for _ in range(min(repeats, 1))]
    yield limit(
        "Caltech-256's probe, 29,780 x 39,564, one fold: memory beside mapped features", peaks, most=4, unit="GB"
    )


def write_random(path: Path, count: int, width: int) -> np.memmap:
    """Features of no meaning, mapped into memory."""
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        for rows in np.split(np.arange(count), range(1000, count, 1000)):
            file.write(random.random((len(rows), width), np.float32).data)
    return np.memmap(path, np.float32, "r", shape=(count, width))


def probe_wide(path: Path, count: int, width: int, classes: int) -> None:
    """Fit the SVMs of all classes to 30 images of each, for one C, and answer to the others."""
    found = Features(write_random(path, count, width), (slice(0, width),))
    labels = np.arange(count) % classes
    train, test = np.split(np.arange(count)[None], [30 * classes], axis=1)
    names = tuple(map(str, range(classes)))
    labeled = Labeled(images=np.zeros((count, 3, 1, 1), np.uint8), labels=labels, train=train, test=test, classes=names)
    settings = protocol.Probe(**load_params().probe["caltech256"].model_dump() | {"cell_weights": (1.0,)})
    compute = device.choose(device="cpu", precision="float32")
    protocol.predict_fold(found, labeled, 0, settings, C=2e-3, compute=compute)


def probe_mapped(path: Path, count: int, width: int) -> None:
    """Choose C among ten, as many as are solved together, on halves of five sixths of the rows; answer to the rest."""
    random = np.random.default_rng(1)
    values = write_random(path, count, width)
    found = Features(values, tuple(slice(first, first + width // 4) for first in range(0, width, width // 4)))
    train, test = np.split(random.permutation(count)[None], [count * 5 // 6], axis=1)
    images, labels = np.zeros((count, 3, 1, 1), np.uint8), random.integers(0, 10, count)
    labeled = Labeled(images=images, labels=labels, train=train, test=test, classes=tuple("abcdefghij"))
    settings = load_params().probe["cifar10"].model_dump() | {"C_range": (1e-5, 2e-5), "C_draws": 10}
    compute, settled = device.choose(device="cpu", precision="float32"), protocol.Probe(**settings)
    splits = settled.selection_splits(labeled, random_seed=0)
    (C,) = protocol.choose_C(found, labeled, splits, settled, random_seed=0, compute=compute)
    protocol.predict_fold(found, labeled, 0, settled, C=C, compute=compute)


def caltech101(*, quick: bool, repeats: int) -> Rows:
    """One of ten splits of 3,030 x 20,160, 101 classes, at 3 of the 30 C; LinearSVC: two classes of them, x 101 / 2."""
    count, width, classes = (60, 200, 5) if quick else (3030, 20_160, 101)
    problem = draw(count, width, classes, costs=costs(2e-3, 1.0, 3), intercept_scaling=1.0)
    check_optimum(problem, (0,), (0, 1, 2))
    yield durations(
        "Caltech-101's SVMs, 3,030 x 20,160, 101 classes, against LinearSVC",
        problem.solve,
        lambda: linear_svc(problem, (0, 1), (0, 1, 2)),
        times=(1, classes / 2),
        target=10,
        repeats=repeats,
    )


def against_liblinear(*, quick: bool, repeats: int) -> Rows:
    """One fold at all C; multi-core liblinear: at 3 of them, x 50 / 3, on as many threads, data already read."""
    problem = stl10_fold(quick=quick)
    peer = liblinear(problem, STL10_CHOSEN)
    ours, theirs = problem.solve(), peer()
    for index, model in zip(STL10_CHOSEN, theirs, strict=True):
        label, weights = first_class(model, problem)
        check_near(problem, ours[index, label], weights, label=label, cost=problem.costs[index])
    yield durations(
        "STL-10's SVMs, one fold, against multi-core liblinear",
        problem.solve,
        peer,
        times=(1, len(problem.costs) / len(STL10_CHOSEN)),
        target=1,
        repeats=repeats,
    )
