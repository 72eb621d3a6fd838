"""Records of evaluations -> one table, in the forms that files, DVC and the README want."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from exemplar.datasets import intervals
from exemplar.datasets.evaluation import Evaluation
from exemplar.datasets.intervals import Interval
from exemplar.report import paper

BASELINE = "random"  # what a pretext task must beat


def table(records: Sequence[Evaluation], *, unlabeled: str) -> pd.DataFrame:
    """Put each record in a row, datasets together, else in the order given, with the paper's number where it has one.

    Accuracies are between 0 and 1, spreads population standard deviations over the folds, as in the authors' release;
    margins are half the width of a 95 % interval, and differences are those from the first row of the same dataset.
    """
    datasets = list(dict.fromkeys(record.dataset for record in records))
    ordered = sorted(records, key=lambda record: datasets.index(record.dataset))
    firsts = {record.dataset: record for record in reversed(ordered)}
    return pd.DataFrame([row(record, firsts[record.dataset], unlabeled=unlabeled) for record in ordered])


def row(record: Evaluation, first: Evaluation, *, unlabeled: str) -> dict[str, Any]:
    """One row of the table."""
    difference = intervals.of_difference(record, first) if record is not first else Interval(np.nan, np.nan)
    reported = paper.reported(dataset=record.dataset, method=record.row, model=record.model, unlabeled=unlabeled)
    return {
        "dataset": record.dataset,
        "method": record.title,
        "model": record.model,
        "readout": record.readout,
        "accuracy_mean": float(np.mean(record.accuracy)),
        "accuracy_std": float(np.std(record.accuracy)),
        "accuracy_margin": intervals.of_accuracy(record).margin,
        "difference": difference.mean,
        "difference_margin": difference.margin,
        "class_accuracy_mean": float(np.mean(record.class_accuracy)),
        "knn_accuracy_mean": np.nan if record.knn_accuracy is None else float(np.mean(record.knn_accuracy)),
        "folds": len(record.accuracy),
        "test_samples": len(record.answers[0]) - record.answers[0].count("."),
        "training_samples": record.training_samples,
        "labels_for_choice": record.labels_for_choice,
        "C": float(np.median([settings.get("C", np.nan) for settings in record.chosen] or [np.nan])),
        "paper_accuracy": reported.accuracy,
        "paper_std": reported.std,
        "paper_source": reported.source,
    }


def metrics(records: Sequence[Evaluation]) -> dict[str, dict[str, dict[str, float]]]:
    """What DVC compares: {dataset: {row: {accuracy, std, margin, knn_accuracy}}}, between 0 and 1.

    A row's key is `Evaluation.row`; std is the spread over the folds, margin half the width of the 95 % interval; only
    SVMs have the last.
    """
    metrics_of: dict[str, dict[str, dict[str, float]]] = {}
    for record in records:
        accuracies = {
            "accuracy": float(np.mean(record.accuracy)),
            "std": float(np.std(record.accuracy)),
            "margin": intervals.of_accuracy(record).margin,
        }
        if record.knn_accuracy is not None:
            accuracies["knn_accuracy"] = float(np.mean(record.knn_accuracy))
        metrics_of.setdefault(record.dataset, {})[record.row] = accuracies
    return metrics_of


def flat_metrics(records: Sequence[Evaluation]) -> dict[str, float]:
    """What MLflow compares: `<dataset>.<row>.accuracy`, `.accuracy_std`, `.accuracy_margin` and `.knn_accuracy`."""
    return {
        f"{dataset}.{row}.{f'accuracy_{name}' if name in ('std', 'margin') else name}": value
        for dataset, rows in metrics(records).items()
        for row, accuracies in rows.items()
        for name, value in accuracies.items()
    }


def percent(mean: float, std: float) -> str:
    """`71.3 ± 2.0` for 0.713 and 0.02; empty for no number, without a spread where there is none."""
    if np.isnan(mean):
        return ""
    return f"{100 * mean:.1f}" if np.isnan(std) else f"{100 * mean:.1f} ± {100 * std:.1f}"


def between(ahead: Interval) -> str:
    """`between 8.1 and 15.9 points above`, or `between 2.1 points below and 3.7 above`."""
    low, high = 100 * ahead.low, 100 * ahead.high
    if ahead.is_shown:
        near, far = sorted((abs(low), abs(high)))
        return f"between {near:.1f} and {far:.1f} points {'above' if low > 0 else 'below'}"
    return f"between {abs(low):.1f} points below and {abs(high):.1f} above"


def gap(ours: float, theirs: float) -> str:
    """`2.0 points above`: the difference of what is shown, so that a reader who subtracts finds the same."""
    tenths = round(1000 * ours) - round(1000 * theirs)
    return f"{abs(tenths) / 10:.1f} points {'above' if tenths > 0 else 'below'}" if tenths else "level with"


def signed(ours: float, theirs: float) -> str:
    """`−12.0`, in points: the difference of what is shown, as `gap` has it."""
    return f"{(round(1000 * ours) - round(1000 * theirs)) / 10:+.1f}".replace("-", "−")


def ends(difference: Interval) -> str:
    """`+3.4 to +23.9`, the ends of an interval in points."""
    return f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}".replace("-", "−")


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; names may hold the sign that divides cells."""
    cells = [[str(cell).replace("|", "&#124;") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def markdown_table(rows: pd.DataFrame) -> str:
    """The table for the README, in percent."""
    head = (
        "dataset, method, model, accuracy (%) ± spread over the folds, 95 % interval, k-NN (%), the paper (%), "
        "labels trained on, labels to choose by, folds"
    )
    return markdown(head.split(", "), (cells(row) for row in rows.to_dict("records")))


def cells(row: Mapping[Hashable, Any]) -> Sequence[object]:
    """One row of the table for the README."""
    reported = percent(row["paper_accuracy"], row["paper_std"])
    return (
        row["dataset"],
        row["method"],
        row["model"],
        percent(row["accuracy_mean"], row["accuracy_std"]),
        intervals.span(row["accuracy_mean"], row["accuracy_margin"]),
        percent(row["knn_accuracy_mean"], np.nan) or "–",
        f"{reported} ({row['paper_source']})" if reported else "–",
        row["training_samples"],
        row["labels_for_choice"],
        row["folds"],
    )
