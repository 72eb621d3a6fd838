"""What learning costs and gives: accuracy against encoder passes, of every pretext task and recipe that was run."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from exemplar.report import paper, published
from exemplar.report.figures import COLOURS, INK
from exemplar.report.published_figures import GREY, TICKS, Panel, short, stack

UNTRAINED = ("random", "pixels", "supervised")
TRAININGS = {"exemplar": 1, "clustered": 2}  # of the methods that follow `train.recipe`
SETTINGS = ["model", "unlabeled"]
COUNTS = ["seeds.count", "surrogate.samples", "train.epochs"]
STYLE: dict[str, Any] = {"markersize": 5, "linewidth": 2, "capsize": 3}
MARKS = ("o", "s", "^", "v", "P", "X", "*", "h", "D", "<")


def points(experiments: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """A row for each method and set of settings: `label`, `passes` and what `published.pool` tells; experiments that
    differ in their random seed alone are one point.

    An epoch passes every sample through the encoder once, and every task has as many passes as the exemplar task;
    `clustered` trains twice.
    """
    rows = [row for name, row in published.rows_measured(experiments) if name == dataset]
    if not {*COUNTS, *SETTINGS} <= {*experiments}:
        return pd.DataFrame()  # of experiments that all are from before a setting was there
    tables = []
    for row in rows:
        if row in UNTRAINED or row.endswith("-finetuned"):
            continue
        table = published.pool(experiments, dataset=dataset, row=row)
        passes = table[COUNTS].astype(float).prod(axis=1) * TRAININGS.get(row, 1)
        recipes = table.get("train.recipe", pd.Series("", index=table.index)).astype(str)
        label = row + (", " + recipes if row in TRAININGS else "")
        tables.append(table.assign(label=label, passes=passes))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def draw(experiments: pd.DataFrame) -> Figure | None:
    """Draw a panel for each dataset, network and set of unlabeled images that has a point; None without any."""
    panels: list[Panel] = []
    for dataset in dict.fromkeys(name for name, _ in published.rows_measured(experiments)):
        table = points(experiments, dataset=dataset)
        if len(table):
            panels += [
                (3.6, partial(draw_panel, dataset=dataset, model=str(model), unlabeled=str(unlabeled), ours=ours))
                for (model, unlabeled), ours in table.groupby(SETTINGS, sort=False)
            ]
    return stack(panels, "encoder passes (error bars: spread over random seeds, else folds)")


def draw_panel(axes: Axes, *, dataset: str, model: str, unlabeled: str, ours: pd.DataFrame) -> None:
    """Draw a line for each method, and random filters and the paper's number as levels."""
    for place, (label, line) in enumerate(ours.groupby("label", sort=True)):
        ordered = line.sort_values("passes")
        spread = ordered["seed_std"].fillna(ordered["fold_std"])
        colour, mark = COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]
        axes.errorbar(
            ordered["passes"],
            100 * ordered["accuracy"],
            100 * spread,
            fmt=f"{mark}-",
            color=colour,
            label=label,
            **STYLE,
        )
    theirs = paper.reported(dataset=dataset, method="exemplar", model=model, unlabeled=unlabeled)
    for level, label, colour in (
        (100 * ours["untrained"].mean(), "random filters, here", INK),
        (100 * theirs.accuracy, "exemplar, the paper", GREY),
    ):
        if not np.isnan(level):
            axes.axhline(level, color=colour, linestyle="--", label=label)
    axes.set(title=f"{dataset}, {model}, unlabeled: {unlabeled}", ylabel="accuracy in percent", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()
