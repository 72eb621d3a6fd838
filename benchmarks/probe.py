"""The probe's SVMs on generated features of the paper's sizes, against LinearSVC and multi-core liblinear.

LinearSVC runs a part of the problems and its time is scaled to all of them: each function says which part.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks import material
from benchmarks.measure import Row, check_same, durations, in_process, in_turn, limit
from benchmarks.svms import Problem, costs, draw, first_class, liblinear, linear_svc
from exemplar import svm

STL10_CHOSEN = (4, 25, 45)  # of the 50 values of C: a small, a middle and a large one stand for all


def rows(*, quick: bool, repeats: int) -> Iterator[Row]:
    """STL-10's rows, CIFAR-10's and Caltech-101's."""
    yield from stl10(quick=quick, repeats=repeats)
    yield from cifar10(quick=quick, repeats=repeats)
    yield from caltech101(quick=quick, repeats=repeats)
    yield against_liblinear(stl10_fold(quick=quick), repeats=repeats)


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


def stl10(*, quick: bool, repeats: int) -> Iterator[Row]:
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


def cifar10(*, quick: bool, repeats: int) -> Iterator[Row]:
    """One of two halves of 50,000 x 3,840 at 10 of the 30 C; LinearSVC: one class at the middle C, x 100."""
    count, width = (300, 60) if quick else (25_000, 3840)
    problem = draw(count, width, 10, costs=costs(1e-3, 1.0, 10), intercept_scaling=1.0)
    check_optimum(problem, (0,), (4,))
    yield durations(
        "CIFAR-10's SVMs, 25,000 x 3,840, against LinearSVC",
        problem.solve,
        lambda: linear_svc(problem, (0,), (4,)),
        times=(1, 10 * len(problem.costs)),
        target=20,
        repeats=repeats,
    )
    del problem
    peaks = [in_process(solve_largest, 2 * count, width)[1]]  # once: memory is the same every time
    yield limit("CIFAR-10's SVMs, 50,000 x 3,840, one C: memory", peaks, most=4, unit="GB")


def solve_largest(count: int, width: int) -> None:
    """The training on all of CIFAR-10 with the C that was chosen."""
    draw(count, width, 10, costs=[0.03], intercept_scaling=1.0).solve()


def caltech101(*, quick: bool, repeats: int) -> Iterator[Row]:
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


def against_liblinear(problem: Problem, *, repeats: int) -> Row:
    """One fold at all C; multi-core liblinear: at 3 of them, x 50 / 3, on as many threads, data already read."""
    peer = liblinear(problem, STL10_CHOSEN)
    ours, theirs = problem.solve(), peer()
    for index, model in zip(STL10_CHOSEN, theirs, strict=True):
        label, weights = first_class(model, problem)
        check_near(problem, ours[index, label], weights, label=label, cost=problem.costs[index])
    return durations(
        "STL-10's SVMs, one fold, against multi-core liblinear",
        problem.solve,
        peer,
        times=(1, len(problem.costs) / len(STL10_CHOSEN)),
        target=1,
        repeats=repeats,
    )
