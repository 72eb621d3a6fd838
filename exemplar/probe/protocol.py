"""One-vs-all linear SVM on frozen features: C chosen inside the training data, then mean and spread over the folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from exemplar.datasets.base import Labeled
from exemplar.datasets.evaluation import Measurement, measure_accuracy
from exemplar.datasets.splits import Split, selection_splits
from exemplar.io.unfinished import cached_result
from exemplar.models.network import Encoder, Pixels
from exemplar.probe import features, svm
from exemplar.probe.features import Features, require_sound
from exemplar.runtime.device import Compute

TOLERANCE = 1e-6
BYTES_AT_ONCE = 256 << 20  # of scaled test features


@dataclass(frozen=True)
class Probe:
    """A linear SVM on frozen features, and how one dataset is measured with it (`probe.<dataset>` in params.yaml)."""

    side: int
    cells: tuple[int, ...]
    cell_weights: tuple[float, ...]
    percentile: float
    C_range: tuple[float, float]
    C_draws: int
    intercept_scaling: float
    validation: Literal["other_folds", "halves"]

    def measure(
        self,
        encoder: Encoder | Pixels,
        labeled: Labeled,
        *,
        random_seed: int,
        compute: Compute,
        unfinished: Path | None = None,
    ) -> Measurement:
        """Accuracy of the SVM on the encoder's features: one C for all folds, as in the release.

        What is finished is kept in the folder `unfinished`: large features, the search on each split, each fold.
        """
        centred = encoder.recentred(features.mean_colour(labeled.images, labeled.train[0]))
        found = features.measure(
            centred, labeled.images, side=self.side, cells=self.cells, compute=compute, unfinished=unfinished
        )
        cost = choose_cost(found, labeled, self, random_seed=random_seed, compute=compute, unfinished=unfinished)
        answer = partial(predict, found, labeled, settings=self, costs=[cost], compute=compute)
        predictions = [
            cached_result(unfinished, f"fold-{number}", partial(answer, fold))
            for number, fold in enumerate(zip(labeled.train, labeled.test, strict=True), start=1)
        ]
        return measure_accuracy(labeled, [np.array(predicted[0]) for predicted in predictions], cost=cost)


def draw_costs(bounds: tuple[float, float], *, draws: int, random_seed: int) -> list[float]:
    """Values of C, log-uniform between two bounds, ascending."""
    low, high = np.log(bounds)
    return sorted(np.exp(np.random.default_rng(random_seed).uniform(low, high, draws)).tolist())


def divisors(found: Features, train: Int64[np.ndarray, " m"], settings: Probe) -> list[float]:
    """What each block is divided by: a high percentile of its training features over the weight of its grid."""
    highest = features.percentiles(found, rows=train, percentile=settings.percentile)
    weights = np.resize(settings.cell_weights, len(highest))
    numbers: list[float] = (np.asarray(highest) / weights).tolist()
    return numbers


def fit(
    scaled: Float[np.ndarray, "m d"],
    labels: Int64[np.ndarray, " m"],
    settings: Probe,
    *,
    classes: int,
    costs: Sequence[float],
    compute: Compute,
) -> Float[Tensor, "costs classes d+1"]:
    """The weights of the SVMs of scaled training features, for each value of C."""
    return svm.fit_path(
        torch.from_numpy(scaled).to(compute.device),
        torch.from_numpy(labels).to(compute.device),
        classes=classes,
        costs=costs,
        intercept_scaling=settings.intercept_scaling,
        tolerance=TOLERANCE,
    )


def predict(
    found: Features, labeled: Labeled, split: Split, settings: Probe, *, costs: Sequence[float], compute: Compute
) -> Int64[np.ndarray, "costs v"]:
    """The classes that SVMs trained on the first half of a split give to the second, for each value of C."""
    train, test = split
    numbers, labels, classes = divisors(found, train, settings), labeled.labels[train], len(labeled.classes)
    solved = fit(found.scaled(numbers, train), labels, settings, classes=classes, costs=costs, compute=compute)
    at_once = max(1, BYTES_AT_ONCE // found.values[:1].nbytes)
    answers = []
    for rows in np.split(test, range(at_once, len(test), at_once)):
        images = torch.from_numpy(found.scaled(numbers, rows)).to(compute.device)
        answers.append(svm.decide(solved, images, settings.intercept_scaling).argmax(1).cpu())
    return torch.cat(answers, 1).numpy()


def choose_cost(
    found: Features,
    labeled: Labeled,
    settings: Probe,
    *,
    random_seed: int,
    compute: Compute,
    unfinished: Path | None = None,
) -> float:
    """The C with the best accuracy on the validation splits; among equals the smallest."""
    costs = draw_costs(settings.C_range, draws=settings.C_draws, random_seed=random_seed)
    require_sound(found)
    splits = selection_splits(labeled, validation=settings.validation, random_seed=random_seed)
    work = partial(validate, found, labeled, settings=settings, costs=costs, compute=compute)
    right = [
        cached_result(unfinished, f"search-{number}", partial(work, split))
        for number, split in enumerate(splits, start=1)
    ]
    return costs[int(np.mean(right, 0).argmax())]


def validate(
    found: Features, labeled: Labeled, split: Split, settings: Probe, *, costs: Sequence[float], compute: Compute
) -> Float[np.ndarray, " costs"]:
    """The accuracy on the second half of a split for each value of C."""
    predicted = predict(found, labeled, split, settings, costs=costs, compute=compute)
    shares: Float[np.ndarray, " costs"] = (predicted == labeled.labels[split[1]]).mean(1)
    return shares
