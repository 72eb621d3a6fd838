"""The last lines of `make repro`: the answer, the table, and where the page is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from exemplar.datasets import intervals
from exemplar.report import answers, comparison


def ending(results: Path) -> Iterator[str]:
    """The lines, at most 100 columns wide but for the answer, which a terminal breaks itself."""
    rows = pd.read_csv(results / "comparison.csv")
    yield f"\n{answers.headline(rows)}\n"
    yield f"{'dataset':16}{'row':26}{'accuracy, %, ± over folds':>26}{'95 % interval':>16}{'the paper':>14}"
    for row in rows.to_dict("records"):
        accuracy = comparison.percent(row["accuracy_mean"], row["accuracy_std"])
        interval = intervals.span(row["accuracy_mean"], row["accuracy_margin"])
        paper = comparison.percent(row["paper_accuracy"], row["paper_std"]) or "–"
        yield f"{row['dataset']:16}{row['method']:26}{accuracy:>26}{interval:>16}{paper:>14}"
    yield f"\nthe page: {results / 'report.html'}"


if __name__ == "__main__":  # `make repro` asks
    print("\n".join(ending(Path(sys.argv[1]))))
