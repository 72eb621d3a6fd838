"""Linear SVM and nearest neighbours on frozen features: C chosen inside the training data, accuracy on every fold."""

from collections.abc import Callable, Iterator, Sequence
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
from exemplar.datasets.splits import Split, extra_labels, selection_splits
from exemplar.datasets.streams import numpy_stream
from exemplar.errors import say
from exemplar.io.unfinished import cached_result
from exemplar.models.network import Encoder, Pixels
from exemplar.probe import features, knn, span, svm
from exemplar.probe.features import Features, require_sound
from exemplar.probe.span import Span
from exemplar.runtime.device import Compute, enough_memory, more_room

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
    validation: Literal["other_folds", "nested", "release_halves"]

    def measure(
        self,
        encoder: Encoder | Pixels,
        labeled: Labeled,
        *,
        random_seed: int,
        compute: Compute,
        unfinished: Path | None = None,
    ) -> Measurement:
        """Accuracy on every fold, of the SVM and of nearest neighbours on the features that it sees.

        What is finished is kept in the folder `unfinished`: large features, the search on each split, each fold.
        """
        splits = self.selection_splits(labeled, random_seed=random_seed)  # before the features, which may take hours
        extracted = features.measure(
            self.centred(encoder, labeled),
            labeled.images,
            side=self.side,
            cells=self.cells,
            compute=compute,
            unfinished=unfinished,
        )
        chosen = choose_C(
            extracted, labeled, splits, self, random_seed=random_seed, compute=compute, unfinished=unfinished
        )
        predictions = [
            cached_result(
                unfinished,
                f"fold-{fold + 1}",
                partial(predict_fold, extracted, labeled, fold, settings=self, C=C, compute=compute),
            )
            for fold, C in enumerate(chosen)
        ]
        by_svm, by_neighbours = ([np.array(fold[reader]) for fold in predictions] for reader in (0, 1))
        return measure_accuracy(
            labeled,
            by_svm,
            by_neighbours=by_neighbours,
            labels_for_choice=max(extra_labels(train, splits[fold]) for fold, train in enumerate(labeled.train)),
            chosen=[{"C": C} for C in chosen],
        )

    def centred(self, encoder: Encoder | Pixels, labeled: Labeled) -> Encoder | Pixels:
        """The encoder as it was trained, with the mean of its own patches, so that no labeled image shifts a feature.

        The release subtracts the evaluated set's mean: here, under its protocol, the mean colour of the training
        images of the first fold.
        """
        if self.validation != "release_halves":
            return encoder
        return encoder.recentred(features.mean_colour(labeled.images, labeled.train[0]))

    def selection_splits(self, labeled: Labeled, *, random_seed: int) -> list[list[Split]]:
        """For each fold, the splits of training images on which its C is chosen."""
        return [
            selection_splits(labeled, validation=self.validation, random_seed=random_seed, fold=fold)
            for fold in range(len(labeled.train))
        ]


def draw_C(bounds: tuple[float, float], *, draws: int, random_seed: int) -> list[float]:
    """Values of C, log-uniform between two bounds, ascending."""
    low, high = np.log(bounds)
    return sorted(np.exp(numpy_stream(random_seed, "C").uniform(low, high, draws)).tolist())


def edge(C: float, C_values: Sequence[float]) -> str:
    """Where a C lies among those that were tried, if it is the first or the last: `smallest` or `largest`."""
    if len(C_values) == 1 or C_values[0] < C < C_values[-1]:
        return ""
    return "smallest" if C_values[0] >= C else "largest"


def choose_C(
    extracted: Features,
    labeled: Labeled,
    splits: Sequence[Sequence[Split]],
    settings: Probe,
    *,
    random_seed: int,
    compute: Compute,
    unfinished: Path | None = None,
) -> list[float]:
    """The C of each fold: the best on its validation splits, averaged over them; among equals the smallest.

    Unless `validation` is nested, all folds share one C, which is chosen once.
    """
    require_sound(extracted)
    C_values = draw_C(settings.C_range, draws=settings.C_draws, random_seed=random_seed)
    work, chosen = partial(validate, extracted, labeled, settings=settings, C_values=C_values, compute=compute), []
    for fold in range(len(splits) if settings.validation == "nested" else 1):
        accuracy = [
            cached_result(unfinished, f"search-{fold + 1}-{number}", partial(work, split))
            for number, split in enumerate(splits[fold], start=1)
        ]
        chosen.append(C_values[int(np.mean(accuracy, 0).argmax())])
    for C in dict.fromkeys(chosen):
        if end := edge(C, C_values):
            say(f"warning: C is {C:.4g}, the {end} that was tried; a wider C_range may have a better one")
    return chosen if settings.validation == "nested" else chosen * len(splits)


def validate(
    extracted: Features,
    labeled: Labeled,
    split: Split,
    settings: Probe,
    *,
    C_values: Sequence[float],
    compute: Compute,
) -> Float[np.ndarray, " C_values"]:
    """The accuracy on the second half of a split for each value of C."""
    predicted = predict(extracted, labeled, split, settings, C_values=C_values, compute=compute)
    accuracy: Float[np.ndarray, " C_values"] = (predicted == labeled.labels[split[1]]).mean(1)
    return accuracy


def predict(
    extracted: Features,
    labeled: Labeled,
    split: Split,
    settings: Probe,
    *,
    C_values: Sequence[float],
    compute: Compute,
) -> Int64[np.ndarray, "C_values v"]:
    """The classes that SVMs trained on the first half of a split give to the second, for each value of C."""
    train, test = split
    fitted = fit(extracted, labeled, train, settings, C_values=C_values, compute=compute)
    answers = [
        svm.decide(fitted.weights, each, settings.intercept_scaling).argmax(1).cpu() for each in fitted.blocks(test)
    ]
    return torch.cat(answers, 1).numpy()


def predict_fold(
    extracted: Features, labeled: Labeled, fold: int, settings: Probe, *, C: float, compute: Compute
) -> tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " t"]]:
    """The classes of a fold's test images, by the SVM and by nearest neighbours."""
    fitted = fit(extracted, labeled, labeled.train[fold], settings, C_values=[C], compute=compute)
    by_svm, by_neighbours = [], []
    for rows in fitted.blocks(labeled.test[fold]):
        by_svm.append(svm.decide(fitted.weights[0], rows, settings.intercept_scaling).argmax(0).cpu())
        by_neighbours.append(knn.predict(fitted.training, fitted.labels, rows, classes=len(labeled.classes)).cpu())
    return torch.cat(by_svm).numpy(), torch.cat(by_neighbours).numpy()


@dataclass(frozen=True)
class Fitted:
    """What a fold's training images decide: each block's divisor, their scaled features, and the SVMs' weights.

    Wide features and their weights are in the axes of `span`; `blocks` gives other images as `training` has its own.
    """

    divisors: Sequence[float]
    training: Float[Tensor, "m d"]
    labels: Int64[Tensor, " m"]
    weights: Float[Tensor, "C_values classes d+1"]
    blocks: Callable[[Int64[np.ndarray, " n"]], Iterator[Float[Tensor, "b d"]]]
    span: Span | None

    def feature_weights(self) -> Float[Tensor, "classes extended"]:
        """The weights of the scaled features themselves, for the first value of C."""
        return self.weights[0] if self.span is None else self.span.unproject(self.weights[0])


def fit(
    extracted: Features,
    labeled: Labeled,
    train: Int64[np.ndarray, " m"],
    settings: Probe,
    *,
    C_values: Sequence[float],
    compute: Compute,
) -> Fitted:
    """Scale the features of the training images and fit an SVM per class to them, for each value of C."""
    with enough_memory(f"the SVMs; lower side of this dataset under probe in params.yaml, {more_room(compute.device)}"):
        scales = divisors(extracted, train, settings)
        narrow = Span.of(extracted, scales, train, compute.device) if span.is_wide(extracted, train) else None
        blocks = narrow.blocks if narrow else partial(scaled_blocks, extracted, scales, compute=compute)
        training = narrow.training() if narrow else torch.from_numpy(extracted.scaled(scales, train)).to(compute.device)
        labels = torch.from_numpy(labeled.labels[train]).to(compute.device)
        weights = svm.fit_path(
            training,
            labels,
            classes=len(labeled.classes),
            C_values=C_values,
            intercept_scaling=settings.intercept_scaling,
            tolerance=TOLERANCE,
        )
    return Fitted(scales, training, labels, weights, blocks, narrow)


def divisors(extracted: Features, train: Int64[np.ndarray, " m"], settings: Probe) -> list[float]:
    """What each block is divided by: a high percentile of its training features over the weight of its grid."""
    highest = features.percentiles(extracted, rows=train, percentile=settings.percentile)
    weights = np.resize(settings.cell_weights, len(highest))
    quotients: list[float] = (np.asarray(highest) / weights).tolist()
    return quotients


def scaled_blocks(
    extracted: Features, scales: Sequence[float], rows: Int64[np.ndarray, " m"], *, compute: Compute
) -> Iterator[Float[Tensor, "b d"]]:
    """The scaled features of some images on the device, as many at once as BYTES_AT_ONCE holds."""
    at_once = max(1, BYTES_AT_ONCE // extracted.values[:1].nbytes)
    for block in np.split(rows, range(at_once, len(rows), at_once)):
        yield torch.from_numpy(extracted.scaled(scales, block)).to(compute.device)
