"""What a reader with one minute asks: did learning without labels help, how sure is that, and what did it cost."""

from collections.abc import Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from exemplar.datasets.intervals import Interval
from exemplar.report.comparison import BASELINE, between, gap, percent
from exemplar.report.families import family

Row: TypeAlias = Mapping[Hashable, Any]  # of comparison.table


def first_dataset(rows: pd.DataFrame) -> list[Row]:
    """The rows of the first dataset, of which the first is the subject of all sentences."""
    return list(rows[rows["dataset"] == rows["dataset"].iloc[0]].to_dict("records"))


def headline(rows: pd.DataFrame) -> str:
    """Say in a sentence whether the first row of the first dataset differs from the baseline there, and how surely."""
    first, *others = first_dataset(rows)
    reaches = f"{first['method']} reaches {100 * first['accuracy_mean']:.1f} %"
    if not others:
        return f"On {first['dataset']}, {reaches}."
    other = next((row for row in others if row["method"] == BASELINE), others[0])
    ahead = Interval(-other["difference"], other["difference_margin"])
    named = "random filters" if other["method"] == BASELINE else other["method"]
    stands = f"{gap(first['accuracy_mean'], other['accuracy_mean'])} {named}, with 95 % confidence {between(ahead)}"
    return f"{verdict(first, other, ahead)}: {reaches}, {stands}."


def verdict(first: Row, other: Row, ahead: Interval) -> str:
    """What the difference of two rows means; what two rows are that do not ask about learning, is left open."""
    dataset = first["dataset"]
    if family(first["method"]) != "pretext" or family(other["method"]) != "control":
        return f"On {dataset}" if ahead.is_shown else f"On {dataset}, no difference is shown"
    if not ahead.is_shown:
        return f"On {dataset}, it is not shown that learning without labels helps"
    return f"On {dataset}, learning without labels {'helps' if ahead.mean > 0 else 'does harm'}"


def facts(rows: pd.DataFrame, *, asked: str, passes: str, minutes: str) -> dict[str, str]:
    """What the training of the first row asked, what its interval rests on, the paper's number and the cost.

    `minutes` is `–` where it is not known.
    """
    first = first_dataset(rows)[0]
    trains = passes != "0"
    cost = f"{passes} passes of a patch through the encoder" if trains else "Not trained"
    if minutes != "–":
        cost += f"; {minutes} minutes of {'training and ' if trains else ''}evaluation"
    sets = "training set" if first["folds"] == 1 else "training sets"
    labels = f"{first['training_samples']:,} labeled images each"
    if first["labels_for_choice"]:
        labels += f" (and {first['labels_for_choice']:,} more, on which settings are chosen)"
    return {
        "Task": f"{asked[:1].upper()}{asked[1:]}" if asked else "–",
        "How sure": f"The mean of {first['folds']} {sets} of {labels}, tested on {first['test_samples']:,} others. The "
        "interval is for other images of the same kind; another random seed of the training is not in it.",
        "The paper": from_paper(first),
        "Cost": cost,
    }


def chance(classes: int) -> str:
    """What an answer that looks at nothing would reach."""
    return f"{classes} classes, chance {100 / classes:.1f} %"


def from_paper(row: Row) -> str:
    """How far a row is from the paper's number for it."""
    ours, theirs = row["accuracy_mean"], row["paper_accuracy"]
    if np.isnan(theirs):
        what = f"{row['method']} on {row['dataset']} with this network and these unlabeled images"
        return f"No comparison: Dosovitskiy et al. have no number for {what}."
    reported = f"{percent(theirs, row['paper_std'])} % ({row['paper_source']})"
    return f"{reported}; {row['method']} is {gap(ours, theirs)} it."
