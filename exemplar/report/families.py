"""Rows of the comparison in families, best first, and which differences between them are shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from exemplar.datasets import intervals
from exemplar.datasets.evaluation import Evaluation
from exemplar.datasets.intervals import Interval
from exemplar.report.comparison import BASELINE, between, gap

SUPERVISED, CONTROLS, SUBJECT = "supervised", ("random", "pixels"), "exemplar"
FAMILIES = {"pretext": "pretext tasks", "supervised": "supervised training", "control": "controls"}


def family(title: str) -> str:
    """Which of the families a row of this title belongs to; a fine-tuned encoder stays with its task."""
    if title == SUPERVISED:
        return "supervised"
    return "control" if title in CONTROLS else "pretext"


def arranged(rows: pd.DataFrame) -> pd.DataFrame:
    """`comparison.table` with a column `family`, in each dataset by family, and in a family the most accurate first."""
    families = rows["method"].map(family)
    keys = [
        -rows["accuracy_mean"],
        families.map([*FAMILIES].index),
        rows["dataset"].map([*rows["dataset"].unique()].index),
    ]
    return rows.assign(family=families).iloc[np.lexsort(keys)].reset_index(drop=True)


def baseline(records: Sequence[Evaluation]) -> Evaluation:
    """What every row of one dataset is compared with: random filters, else another control, else the first row."""
    controls = [record for record in records if family(record.title) == "control"]
    return next((record for record in controls if record.title == BASELINE), [*controls, *records][0])


def from_baseline(records: Sequence[Evaluation]) -> dict[tuple[str, str], Interval]:
    """How much more accurate each row of each dataset is than the baseline there, which itself has no entry."""
    found: dict[tuple[str, str], Interval] = {}
    for dataset in dict.fromkeys(record.dataset for record in records):
        rows = [record for record in records if record.dataset == dataset]
        base = baseline(rows)
        found |= {(dataset, row.title): intervals.of_difference(row, base) for row in rows if row is not base}
    return found


@dataclass(frozen=True)
class Pair:
    """Two rows of one dataset, each with what it is there for."""

    one: Evaluation
    role: str
    other: Evaluation
    other_role: str

    def sentence(self) -> str:
        """How far apart the two are, how sure that is, and whether it is a difference."""
        ahead = intervals.of_difference(self.one, self.other)
        means = (float(np.mean(record.accuracy)) for record in (self.one, self.other))
        verdict = "a difference is shown" if ahead.is_shown else "no difference is shown"
        one, other = named(self.one.title, self.role), named(self.other.title, self.other_role)
        return f"{one} is {gap(*means)} {other}, with 95 % confidence {between(ahead)}: {verdict}."


def named(title: str, role: str) -> str:
    """`exemplar (the best pretext task)`; a title that says it all stands alone."""
    return f"{title} ({role})" if role else title


def pairs(records: Sequence[Evaluation]) -> Iterator[Pair]:
    """The pairs of one dataset's rows that answer a question; the best rows are the best of frozen encoders.

    Is learning without labels worth anything, is the exemplar task the best, do few labels alone do as well, and does
    it help to fine-tune.
    """
    rows = sorted(records, key=lambda record: -float(np.mean(record.accuracy)))
    tasks = [row for row in rows if family(row.title) == "pretext" and row.readout == "probe"]
    tuned = [row for row in rows if family(row.title) == "pretext" and row.readout != "probe"]
    best = "the best pretext task" if len(tasks) > 1 else ""
    controls = [row for row in rows if family(row.title) == "control"]
    best_control = "the best control" if len(controls) > 1 else ""
    for control in controls[:1] if tasks else []:
        yield Pair(tasks[0], best, control, best_control)
    others = [row for row in tasks if row.title != SUBJECT]
    for subject in (row for row in tasks if row.title == SUBJECT and others):
        yield Pair(subject, "", others[0], "the best other task")
    for supervised in (row for row in rows if family(row.title) == "supervised"):
        if tasks:
            yield Pair(tasks[0], best, supervised, "")
        if tuned:
            yield Pair(tuned[0], "the best fine-tuned one" if len(tuned) > 1 else "", supervised, "")
