"""The paper's own numbers: one table, `paper.csv`, one number a row, each with where it stands and how it was read.

Percent throughout, as printed. `reading` is `verbatim`, or `digitised` where a point was read off a plot; then `low`
and `high` bound it, and `percent` is empty where only a range could be read. `unlabeled` is the set that the seeds came
from, `classes` and `samples` the size of the surrogate task where the paper states it, `condition` what was done
differently. `x` is what Figure 6 varies at test time: degrees, turns of hue, or a factor of contrast.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import pandas as pd

from exemplar.surrogate.ranges import RELEASE

WORDS = ("dataset", "method", "model", "unlabeled", "condition", "features", "note")


@dataclass(frozen=True)
class Reported:
    """One accuracy of the paper between 0 and 1; `std` is NaN where the paper gives no spread."""

    accuracy: float
    std: float
    source: str


# Figure 6 has nets that were trained under different ranges. These are those under the ranges of the authors' release.
FIGURE_6 = {
    "angle_degrees": ("Figure 6 rotation", "rotation up to 20 degrees"),
    "hue_offset_turns": ("Figure 6 hue", "with color"),
    "contrast_factor": ("Figure 6 contrast", "contrast (2, 0.5, 0.1)"),
}
MARK = ["dataset", "transformation", "magnitude", "percent", "low", "high"]
NOT_REPORTED = Reported(accuracy=math.nan, std=math.nan, source="")


def load() -> pd.DataFrame:
    """Load every number of the paper, in percent, as the module says."""
    with files("exemplar.report").joinpath("paper.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file).fillna(dict.fromkeys(WORDS, ""))


def reported(*, dataset: str, method: str, model: str, unlabeled: str) -> Reported:
    """Find what the paper reached with this method and model on this dataset, with seeds from `unlabeled`.

    The first table that has the row counts, and its best number where it has several. Untrained filters need no
    unlabeled set, so theirs is found beside any.
    """
    table = load()
    rows = table[
        (table["quantity"] == "accuracy")
        & (table["condition"] == "")
        & (table["dataset"] == dataset)
        & (table["method"] == method)
        & (table["model"] == model)
        & table["unlabeled"].isin([unlabeled, ""])
    ]
    if rows.empty:
        return NOT_REPORTED
    best = rows[rows["source"] == rows["source"].iloc[0]].sort_values("percent").iloc[-1]
    digitised = ", digitised" if best["reading"] == "digitised" else ""
    return Reported(accuracy=best["percent"] / 100, std=best["std"] / 100, source=f"{best['source']}{digitised}")


def invariance(*, unlabeled: str, ranges: Mapping[str, Any]) -> pd.DataFrame:
    """Find the accuracies of Figure 6 in percent: `percent` is empty where only the bounds `low` and `high` are known.

    Empty unless the seeds come from the paper's set and are cut under the release's ranges, as were those of its nets.
    """
    parts = [
        either_way(source).query("condition == @condition").assign(transformation=transformation)
        for transformation, (source, condition) in FIGURE_6.items()
    ]
    released = all(ranges.get(name) == value for name, value in asdict(RELEASE).items())
    rows = pd.concat(parts)
    return rows[(rows["unlabeled"] == unlabeled) & released][MARK].reset_index(drop=True)


def either_way(source: str) -> pd.DataFrame:
    """A part of Figure 6 along its `magnitude`; what holds in either direction is there twice."""
    table = load()
    rows = table[table["source"] == source].rename(columns={"x": "magnitude"})
    both = rows[rows["note"].str.contains("either direction|up to this change")]
    rows = pd.concat([rows, both.assign(magnitude=-both["magnitude"])])
    return rows.drop_duplicates().sort_values("magnitude")


def competitors() -> pd.DataFrame:
    """Table 1: a row per method, the paper's nets among them, a column per dataset, cells such as `67.1 ± 0.2`."""
    table = load()
    table = table[(table["source"] == "Table 1") & (table["quantity"] == "accuracy")]
    spread = ["" if math.isnan(std) else f" ± {std:g}" for std in table["std"]]
    printed = [f"{percent:.1f}" if percent == round(percent, 1) else f"{percent:g}" for percent in table["percent"]]
    cells = [percent + std for percent, std in zip(printed, spread, strict=True)]
    names = (table["method"] + " " + table["model"]).str.strip()
    wide = table.assign(method=names, cell=cells).pivot(index="method", columns="dataset", values="cell")
    return wide.loc[names.unique(), table["dataset"].unique()].fillna("")
