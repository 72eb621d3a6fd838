"""What a readout measured on a labeled dataset, fold by fold."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from exemplar.atomic import replacing
from exemplar.datasets.base import Labeled
from exemplar.errors import UserError


@dataclass(frozen=True)
class Measurement:
    """Accuracies between 0 and 1, one per fold, over all test images and averaged over the classes.

    `confusion` counts test images over all folds, rows true and columns predicted. `cost` is the SVM's C and
    `curves` the learning curve of each fold, where there are such things.
    """

    accuracy: tuple[float, ...]
    class_accuracy: tuple[float, ...]
    confusion: Int64[np.ndarray, "k k"]
    training_samples: int
    cost: float | None = None
    curves: Sequence[Sequence[Mapping[str, float]]] = ()

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """What a tracker shows: numbers with their step, which is a fold or, in a fold's learning curve, an epoch."""
        for fold, pair in enumerate(zip(self.accuracy, self.class_accuracy, strict=True)):
            yield fold, dict(zip(("fold.accuracy", "fold.class_accuracy"), pair, strict=True))
        for fold, curve in enumerate(self.curves):
            for epoch, numbers in enumerate(curve):
                yield epoch + 1, {f"fold_{fold + 1}.{name}": value for name, value in numbers.items()}
        yield 0, {"accuracy": float(np.mean(self.accuracy)), "accuracy_std": float(np.std(self.accuracy))}
        if self.cost is not None:
            yield 0, {"cost": self.cost}


@dataclass(frozen=True)
class Evaluation:
    """One row of the comparison: an encoder and a readout on one dataset.

    `accuracy` and `class_accuracy` (the mean over classes) have a number per fold between 0 and 1; `cost` is the
    SVM's C; `training_samples` counts the labeled images of a fold; `confusion` sums over the folds, true class by row.
    """

    dataset: str
    method: str
    model: str
    readout: str
    accuracy: list[float]
    class_accuracy: list[float]
    cost: float | None
    training_samples: int
    seconds: float
    classes: list[str]
    confusion: list[list[int]]
    run_id: str

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Read what `save` wrote."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"cannot read the evaluation {path} ({error}); remove it and run the evaluate stage"
            ) from None


def count_confusion(
    labels: Int64[np.ndarray, " n"], predicted: Int64[np.ndarray, " n"], *, classes: int
) -> Int64[np.ndarray, "k k"]:
    """How often each class (row) was taken for each class (column)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def score(
    labeled: Labeled,
    predictions: Sequence[Int64[np.ndarray, " t"]],
    *,
    cost: float | None = None,
    curves: Sequence[Sequence[Mapping[str, float]]] = (),
) -> Measurement:
    """Compare the predictions for each fold's test images with their labels."""
    classes = len(labeled.classes)
    tables = [
        count_confusion(labeled.labels[test], predicted, classes=classes)
        for test, predicted in zip(labeled.test, predictions, strict=True)
    ]
    return Measurement(
        accuracy=tuple(float(np.trace(table) / table.sum()) for table in tables),
        class_accuracy=tuple(mean_class_accuracy(table) for table in tables),
        confusion=np.sum(tables, 0),
        training_samples=labeled.train.shape[1],
        cost=cost,
        curves=curves,
    )


def mean_class_accuracy(table: Int64[np.ndarray, "k k"]) -> float:
    """The accuracy of each class that was tested, averaged over these classes."""
    tested = table[table.sum(1) > 0]
    right = np.diag(table)[table.sum(1) > 0]
    return float((right / tested.sum(1)).mean())
