"""SVM problems of the benchmark, and their solutions by the library, by scikit-learn and by multi-core liblinear."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import material
from benchmarks.measure import LackingError
from exemplar.probe import svm
from exemplar.probe.protocol import TOLERANCE


@dataclass(frozen=True)
class Problem:
    """A dataset's probe: its training rows, its classes, the values of C."""

    features: Float[Tensor, "n d"]
    labels: Int64[Tensor, " n"]
    classes: int
    costs: tuple[float, ...]
    intercept_scaling: float

    def solve(self) -> Float[Tensor, "costs classes d+1"]:
        """All classes and all C by the library."""
        return svm.fit_path(
            self.features,
            self.labels,
            classes=self.classes,
            C_values=self.costs,
            intercept_scaling=self.intercept_scaling,
            tolerance=TOLERANCE,
        )

    def objective(self, weights: Float[Tensor, " d+1"], *, label: int, cost: float) -> float:
        """What all of them minimise."""
        sign = torch.where(self.labels == label, 1.0, -1.0).double()
        margin = svm.decide(weights.double(), self.features.double(), self.intercept_scaling)
        return float(weights.double().square().sum() / 2 + cost * (1 - sign * margin).clamp_min(0).square().sum())


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # no types
    """The operations of products of matrices in the block, by precision: two for a multiplication and addition.

    Decompositions, as `eigh`, are not in them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # no types
        self.operations: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204  # PyTorch's own
        """Do it and count it."""
        found = function(*arguments, **(named or {}))
        name = function.overloadpacket.__name__.removesuffix("_")  # what works in place is not in PyTorch's list
        if count := flop_registry.get(getattr(torch.ops.aten, name, None)):
            self.operations[arguments[0].dtype] += count(*arguments, **(named or {}), out_val=found)
        return found


def draw(
    count: int, width: int, classes: int, *, costs: Sequence[float], intercept_scaling: float, seed: int = 0
) -> Problem:
    """A problem of a size."""
    features, labels = material.svm_features(count, width, classes, random_seed=seed)
    return Problem(features, labels, classes, tuple(costs), intercept_scaling)


def on_device(problem: Problem, device: torch.device) -> Problem:
    """The same problem with its data there."""
    return replace(problem, features=problem.features.to(device), labels=problem.labels.to(device))


def costs(low: float, high: float, count: int) -> list[float]:
    """Values of C, evenly spread on a logarithmic scale."""
    return [float(cost) for cost in np.geomspace(low, high, count)]


def linear_svc(problem: Problem, classes: Sequence[int], chosen: Sequence[int]) -> Float[np.ndarray, "k d+1"]:
    """scikit-learn's weights for some classes, for each of some values of C; the last weight is the intercept's.

    The tolerance of its dual solver is looser than its default, in its favour: the optimum is still within 1e-2.
    """
    from sklearn.svm import LinearSVC

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is measured here: that it is not at its optimum yet
        for index in chosen:
            for label in classes:
                fitted = LinearSVC(
                    C=problem.costs[index],
                    intercept_scaling=problem.intercept_scaling,
                    dual="auto",
                    tol=1e-3 if len(problem.labels) < problem.features.shape[1] else 1e-4,
                    max_iter=100_000,
                ).fit(problem.features.numpy(), (problem.labels == label).numpy())
                found.append(np.append(fitted.coef_[0], fitted.intercept_ / problem.intercept_scaling))
    return np.stack(found)


def liblinear(problem: Problem, chosen: Sequence[int]) -> Callable[[], list[Any]]:
    """What makes multi-core liblinear's models of all classes for some values of C, its data read beforehand."""
    try:
        from liblinear import liblinearutil
    except ImportError as error:
        raise LackingError(f"liblinear-multicore cannot be imported ({error})") from None
    data = liblinearutil.problem(problem.labels.double().numpy(), problem.features.double().numpy())
    options = f"-s 2 -e 0.0001 -B {problem.intercept_scaling} -m {torch.get_num_threads()} -q"
    return lambda: [
        liblinearutil.train(data, liblinearutil.parameter(f"{options} -c {problem.costs[index]}")) for index in chosen
    ]


def first_class(model: Any, problem: Problem) -> tuple[int, Float[Tensor, " d+1"]]:  # noqa: ANN401  # it has no types
    """The class that a model of liblinear names first, and its weights."""
    weights, intercept = model.get_decfun(label_idx=0)
    full = [*weights, intercept / problem.intercept_scaling]
    return model.get_labels()[0], torch.tensor(full, dtype=torch.float64)
