"""Experiments that differ in their random seed alone -> the mean and spread of every row of the comparison."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from exemplar.report.comparison import markdown, percent
from exemplar.report.published import names_of_settings, pool, rows_measured

COLUMNS = ("dataset", "method", "model", "unlabeled", "settings", "accuracy_mean", "accuracy_std_over_seeds",
           "random_seeds", "accuracy_std_over_folds", "experiments")  # fmt: skip


def over_random_seeds(experiments: pd.DataFrame) -> pd.DataFrame:
    """A line per dataset, row and settings that two or more random seeds were run with.

    `experiments` is what `published.load` reads. Accuracies are between 0 and 1; the spread over random seeds is the
    sample standard deviation of the experiments' means, that over the folds the root mean square of theirs.
    `settings` says what tells lines of the same row apart.
    """
    tables = [lines(experiments, dataset, row) for dataset, row in rows_measured(experiments)]
    found = [table for table in tables if len(table)]
    return pd.concat(found) if found else pd.DataFrame(columns=list(COLUMNS))


def lines(experiments: pd.DataFrame, dataset: str, row: str) -> pd.DataFrame:
    """The lines of one row of the comparison."""
    points = pool(experiments, dataset=dataset, row=row)
    points = points[points["random_seeds"] > 1]
    named = points.assign(
        dataset=dataset,
        method=row.replace("-finetuned", ", fine-tuned"),
        settings=list(differences(points)),
        accuracy_mean=points["accuracy"],
        accuracy_std_over_seeds=points["seed_std"],
        accuracy_std_over_folds=points["fold_std"],
        experiments=[" ".join(names) for names in points["experiments"]],
    )
    return named[list(COLUMNS)]


def differences(points: pd.DataFrame) -> Iterator[str]:
    """For each point the settings in which it differs from another: `seeds.count=500 train.epochs=4`."""
    names = [name for name in names_of_settings(points) if points[name].nunique() > 1]
    for point in points.to_dict("records"):
        yield " ".join(f"{name}={point[name]}" for name in names)


def markdown_table(rows: pd.DataFrame) -> str:
    """The lines as a table, in percent."""
    head = ["dataset", "method", "model", "seeds from", "accuracy (%), mean ± spread over random seeds",
            "random seeds", "spread over the folds (%)", "settings"]  # fmt: skip
    return markdown(head, (cells(row) for row in rows.to_dict("records")))


def cells(row: Mapping[Hashable, Any]) -> Sequence[object]:
    """One line of the table."""
    return (
        row["dataset"],
        row["method"],
        row["model"],
        row["unlabeled"],
        percent(row["accuracy_mean"], row["accuracy_std_over_seeds"]),
        row["random_seeds"],
        f"{100 * row['accuracy_std_over_folds']:.1f}",
        row["settings"],
    )
