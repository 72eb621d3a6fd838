"""What a readout measured on a labeled dataset, fold by fold."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from pydantic import TypeAdapter, ValidationError

from exemplar.datasets.base import Labeled
from exemplar.errors import UserError, reason
from exemplar.io import foreign
from exemplar.io.atomic import replacing

UNTRAINED = "random"  # fine-tuning from random filters is supervised training
ROUNDING = 1e-9  # all folds test equally many images, so that their mean is that of all


@dataclass(frozen=True)
class Measurement:
    """Accuracies between 0 and 1, one per fold, over all test images and averaged over the classes.

    `confusion` counts test images over all folds, rows true and columns predicted. `answers` has a line per fold, in it
    a sign for each image that any fold tests, in their order: 1 right, 0 wrong, . not tested in this fold.
    `labels_for_choice` counts the labeled images that choosing settings used beyond a fold's own training images, in
    the fold with the most. Where there are such things, `knn_accuracy` is that of nearest neighbours on the features
    that the SVM sees, `chosen` the settings that a rule chose for each fold, as the SVM's C, and `curves` each fold's
    learning curve. `copies` is what `Labeled.count_copies` finds.
    """

    accuracy: tuple[float, ...]
    class_accuracy: tuple[float, ...]
    confusion: Int64[np.ndarray, "k k"]
    answers: tuple[str, ...]
    training_samples: int
    labels_for_choice: int = 0
    knn_accuracy: tuple[float, ...] | None = None
    chosen: Sequence[Mapping[str, Any]] = ()
    curves: Sequence[Sequence[Mapping[str, float]]] = ()
    copies: int = 0

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """What a tracker shows: numbers with their step, which is a fold or, in a fold's learning curve, an epoch."""
        for fold, pair in enumerate(zip(self.accuracy, self.class_accuracy, strict=True)):
            yield fold, dict(zip(("fold.accuracy", "fold.class_accuracy"), pair, strict=True))
        for fold, curve in enumerate(self.curves):
            for epoch, numbers in enumerate(curve):
                yield epoch + 1, {f"fold_{fold + 1}.{name}": value for name, value in numbers.items()}
        yield 0, {"accuracy": float(np.mean(self.accuracy)), "accuracy_std": float(np.std(self.accuracy))}
        if self.knn_accuracy is not None:
            for fold, accuracy in enumerate(self.knn_accuracy):
                yield fold, {"fold.knn_accuracy": accuracy}
            yield 0, {"knn_accuracy": float(np.mean(self.knn_accuracy))}
        for fold, settings in enumerate(self.chosen):
            yield fold, {f"fold.{name}": value for name, value in settings.items() if isinstance(value, int | float)}


@dataclass(frozen=True)
class Evaluation:
    """One row of the comparison: the encoder of `method` and a readout, "probe" or "finetune", on one dataset.

    `accuracy` and `class_accuracy` (the mean over classes) have a number per fold between 0 and 1, and so has
    `knn_accuracy` beside an SVM; `training_samples` counts the labeled images of a fold, and `labels_for_choice` those
    that choosing used beyond them; `chosen` are the settings of each fold's training, where a rule chose them;
    `confusion` sums over the folds, true class by row; `answers` are those of `Measurement`, by which two rows are
    compared image by image; `copies` counts test images that a fold has also trained on, in the fold with the most.
    """

    dataset: str
    method: str
    model: str
    readout: str
    accuracy: list[float]
    class_accuracy: list[float]
    knn_accuracy: list[float] | None
    training_samples: int
    labels_for_choice: int
    chosen: list[dict[str, Any]]
    classes: list[str]
    confusion: list[list[int]]
    answers: list[str]
    copies: int = 0

    @classmethod
    def of(
        cls,
        measured: Measurement,
        *,
        dataset: str,
        method: str,
        readout: str,
        model: str,
        classes: Sequence[str],
    ) -> "Evaluation":
        """The record of a measurement."""
        return cls(
            dataset=dataset,
            method=method,
            model=model,
            readout=readout,
            accuracy=list(measured.accuracy),
            class_accuracy=list(measured.class_accuracy),
            knn_accuracy=None if measured.knn_accuracy is None else list(measured.knn_accuracy),
            training_samples=measured.training_samples,
            labels_for_choice=measured.labels_for_choice,
            chosen=[dict(each) for each in measured.chosen],
            classes=list(classes),
            confusion=measured.confusion.tolist(),
            answers=list(measured.answers),
            copies=measured.copies,
        )

    @property
    def row(self) -> str:
        """The row's key in metrics and in MLflow: `exemplar`, `exemplar-finetuned`, `supervised`."""
        if self.readout == "probe":
            return self.method
        return "supervised" if self.method == UNTRAINED else f"{self.method}-finetuned"

    @property
    def title(self) -> str:
        """The row's name for people: `exemplar`, `exemplar, fine-tuned`, `supervised`."""
        return self.row.replace("-finetuned", ", fine-tuned")

    def right(self) -> Float[np.ndarray, "folds images"]:
        """1 for each right answer and 0 for each wrong one; NaN where a fold does not test an image."""
        meanings = {"1": 1.0, "0": 0.0, ".": np.nan}
        return np.array([[meanings[sign] for sign in line] for line in self.answers])

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, *, row: tuple[str, ...] | None = None) -> "Evaluation":
        """Read what `save` wrote; where `row` names readout, dataset and method, they must be the record's own."""
        try:
            record = TypeAdapter(cls).validate_json(foreign.read(path), strict=True, extra="forbid")
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read the evaluation {path} ({first_finding(error)}); remove it and run dvc repro again"
            ) from None
        if contradiction := record.contradiction():
            raise UserError(f"cannot use the evaluation {path} ({contradiction}); remove it and run dvc repro again")
        if row not in (None, (record.readout, record.dataset, record.method)):
            raise UserError(f"the evaluation {path} is of another row; remove it and run dvc repro again")
        return record

    def contradiction(self) -> str | None:
        """What in the record cannot be: numbers that are no accuracies, or that its own confusion matrix belies."""
        if not re.fullmatch("pixels|[0-9cfs-]{1,1000}", self.model):
            return "its model is no network"
        table = np.array(self.confusion) if len({*map(len, self.confusion)}) == 1 else np.zeros(0)
        if table.shape != (len(self.classes),) * 2 or table.min() < 0 or table.sum() == 0:
            return f"confusion is no table of counts for {len(self.classes)} classes"
        lists = [self.accuracy, self.class_accuracy, *([] if self.knn_accuracy is None else [self.knn_accuracy])]
        as_many = len(self.accuracy) > 0 and len({len(shares) for shares in lists}) == 1
        if not as_many or not all(0 <= share <= 1 for shares in lists for share in shares):
            return "accuracy, class_accuracy and knn_accuracy are not as many numbers between 0 and 1"
        if abs(np.mean(self.accuracy) - np.trace(table) / table.sum()) > ROUNDING:
            return f"accuracy is {np.mean(self.accuracy):.4f}, its confusion {np.trace(table) / table.sum():.4f}"
        signs = ["".join(sorted(line)) for line in self.answers]
        shares = [line.count("1") / max(1, len(line.strip("."))) for line in signs]
        as_told = len(signs) == len(self.accuracy) and np.allclose(shares, self.accuracy, rtol=0, atol=ROUNDING)
        if not as_told or len({*map(len, signs)}) > 1 or {*"".join(signs)} - {*"01."}:
            return "answers are not a line of as many 1, 0 and . per fold, with that fold's accuracy"
        if self.labels_for_choice < 0 or self.training_samples < 1:
            return "training_samples or labels_for_choice is negative"
        return None


def first_finding(error: Exception) -> str:
    """What an error says; of pydantic's findings the first, without the address of its manual."""
    if not isinstance(error, ValidationError):
        return reason(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def count_confusion(
    labels: Int64[np.ndarray, " n"], predicted: Int64[np.ndarray, " n"], *, classes: int
) -> Int64[np.ndarray, "k k"]:
    """How often each class (row) was taken for each class (column)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def measure_accuracy(
    labeled: Labeled,
    predictions: Sequence[Int64[np.ndarray, " t"]],
    *,
    labels_for_choice: int = 0,
    by_neighbours: Sequence[Int64[np.ndarray, " t"]] | None = None,
    chosen: Sequence[Mapping[str, Any]] = (),
    curves: Sequence[Sequence[Mapping[str, float]]] = (),
) -> Measurement:
    """Compare the predictions for each fold's test images, and those by nearest neighbours, with their labels."""
    classes = len(labeled.classes)
    tables = [
        count_confusion(labeled.labels[test], predicted, classes=classes)
        for test, predicted in zip(labeled.test, predictions, strict=True)
    ]
    return Measurement(
        accuracy=tuple(float(np.trace(table) / table.sum()) for table in tables),
        class_accuracy=tuple(mean_class_accuracy(table) for table in tables),
        confusion=np.sum(tables, 0),
        answers=answer_lines(labeled, predictions),
        training_samples=labeled.train.shape[1],
        labels_for_choice=labels_for_choice,
        knn_accuracy=None if by_neighbours is None else share_right(labeled, by_neighbours),
        chosen=chosen,
        curves=curves,
        copies=labeled.count_copies(),
    )


def answer_lines(labeled: Labeled, predictions: Sequence[Int64[np.ndarray, " t"]]) -> tuple[str, ...]:
    """For each fold a sign per image that any fold tests: 1 right, 0 wrong, . not tested in this fold."""
    tested = np.unique(labeled.test)
    lines = np.full((len(labeled.test), len(tested)), ".")
    for line, test, predicted in zip(lines, labeled.test, predictions, strict=True):
        line[np.searchsorted(tested, test)] = np.where(labeled.labels[test] == predicted, "1", "0")
    return tuple("".join(line) for line in lines)


def share_right(labeled: Labeled, predictions: Sequence[Int64[np.ndarray, " t"]]) -> tuple[float, ...]:
    """The accuracy on each fold's test images."""
    pairs = zip(labeled.test, predictions, strict=True)
    return tuple(float((labeled.labels[test] == predicted).mean()) for test, predicted in pairs)


def mean_class_accuracy(table: Int64[np.ndarray, "k k"]) -> float:
    """The accuracy of each class that was tested, averaged over these classes."""
    tested = table[table.sum(1) > 0]
    right = np.diag(table)[table.sum(1) > 0]
    return float((right / tested.sum(1)).mean())
