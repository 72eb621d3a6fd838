"""Records of evaluations -> one table, in the forms that files, DVC and the README want."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from exemplar.datasets.evaluation import Evaluation
from exemplar.report import paper


def table(records: Sequence[Evaluation], *, unlabeled: str) -> pd.DataFrame:
    """Put each record in a row, datasets together, else in the order given, with the paper's number where it has one.

    Accuracies are between 0 and 1, spreads population standard deviations over the folds, as in the authors' release.
    """
    datasets = list(dict.fromkeys(record.dataset for record in records))
    ordered = sorted(records, key=lambda record: datasets.index(record.dataset))
    return pd.DataFrame([row(record, unlabeled=unlabeled) for record in ordered])


def row(record: Evaluation, *, unlabeled: str) -> dict[str, Any]:
    """One row of the table."""
    known = paper.reported(dataset=record.dataset, method=record.row, model=record.model, unlabeled=unlabeled)
    return {
        "dataset": record.dataset,
        "method": record.title,
        "model": record.model,
        "readout": record.readout,
        "accuracy_mean": float(np.mean(record.accuracy)),
        "accuracy_std": float(np.std(record.accuracy)),
        "class_accuracy_mean": float(np.mean(record.class_accuracy)),
        "knn_accuracy_mean": np.nan if record.knn_accuracy is None else float(np.mean(record.knn_accuracy)),
        "folds": len(record.accuracy),
        "training_samples": record.training_samples,
        "labels_for_choice": record.labels_for_choice,
        "C": float(np.median([settings.get("C", np.nan) for settings in record.chosen] or [np.nan])),
        "seconds": record.seconds,
        "paper_accuracy": known.accuracy,
        "paper_std": known.std,
        "paper_source": known.source,
        "run_id": record.run_id,
    }


def metrics(records: Sequence[Evaluation]) -> dict[str, dict[str, dict[str, float]]]:
    """What DVC compares: {dataset: {method: {accuracy, std, knn_accuracy}}}, between 0 and 1, the last of SVMs only."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in records:
        numbers = {"accuracy": float(np.mean(record.accuracy)), "std": float(np.std(record.accuracy))}
        if record.knn_accuracy is not None:
            numbers["knn_accuracy"] = float(np.mean(record.knn_accuracy))
        found.setdefault(record.dataset, {})[record.row] = numbers
    return found


def flat_metrics(records: Sequence[Evaluation]) -> dict[str, float]:
    """What MLflow compares: `<dataset>.<method>.accuracy`, `.accuracy_std` and `.knn_accuracy`, between 0 and 1."""
    return {
        f"{dataset}.{method}.{'accuracy_std' if name == 'std' else name}": value
        for dataset, rows in metrics(records).items()
        for method, numbers in rows.items()
        for name, value in numbers.items()
    }


def percent(mean: float, std: float) -> str:
    """`71.3 ± 2.0` for 0.713 and 0.02; empty for no number, without a spread where there is none."""
    if np.isnan(mean):
        return ""
    return f"{100 * mean:.1f}" if np.isnan(std) else f"{100 * mean:.1f} ± {100 * std:.1f}"


def headline(rows: pd.DataFrame) -> str:
    """Say in a sentence how the first method of the first dataset stands against the others there."""
    rows = rows[rows["dataset"] == rows["dataset"].iloc[0]]
    first, *others = rows.to_dict("records")
    sentence = f"On {first['dataset']}, {first['method']} reaches {100 * first['accuracy_mean']:.1f} %"
    stands = [f"{gap(first['accuracy_mean'], other['accuracy_mean'])} {other['method']}" for other in others]
    return f"{sentence}: {', '.join(stands)}." if stands else f"{sentence}."


def gap(ours: float, theirs: float) -> str:
    """`2.0 points above`: the difference of what is shown, so that a reader who subtracts finds the same."""
    tenths = round(1000 * ours) - round(1000 * theirs)
    return f"{abs(tenths) / 10:.1f} points {'above' if tenths > 0 else 'below'}" if tenths else "level with"


def markdown_table(rows: pd.DataFrame) -> str:
    """The table for the README, in percent."""
    lines = [
        "| dataset | method | model | accuracy (%) | k-NN (%) | the paper (%) | labeled images | folds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in rows.to_dict("records"):
        known = percent(one["paper_accuracy"], one["paper_std"])
        cells = (
            one["dataset"],
            one["method"],
            one["model"],
            percent(one["accuracy_mean"], one["accuracy_std"]),
            percent(one["knn_accuracy_mean"], np.nan) or "–",
            f"{known} ({one['paper_source']})" if known else "–",
            one["training_samples"],
            one["folds"],
        )
        lines.append(f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"
