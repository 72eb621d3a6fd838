"""The paper's Figures 3 to 5, drawn from our experiments with the paper's numbers beside ours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from exemplar.report import paper
from exemplar.report.experiments import Experiment, Point, datasets
from exemplar.report.figures import COLOURS, INK, STYLE, blank
from exemplar.report.studies import FIGURE_3, FIGURE_4, Study, ablations, condition, curves

GREY = "#888888"
WIDTH_INCHES = 6.4
OURS: dict[str, Any] = {"fmt": "o-", "markersize": 5, "linewidth": 2, "capsize": 3}
THEIRS: dict[str, Any] = {"fmt": "D:", "markersize": 5, "linewidth": 1.2, "markerfacecolor": "white"}
# A logarithmic axis has ticks at these multiples of each power of ten.
TICKS = (1.0, 2.0, 5.0)


def draw(experiments: Sequence[Experiment]) -> dict[str, Figure | None]:
    """Draw the figures, by their names in the paper; None stands for one that no experiments belong to."""
    return {
        "Figure 3": accuracy_curves(experiments, FIGURE_3),
        "Figure 4": accuracy_curves(experiments, FIGURE_4),
        "Figure 5": accuracy_changes(experiments),
    }


def accuracy_curves(experiments: Sequence[Experiment], study: Study) -> Figure | None:
    """Draw accuracy against the number on the study's axis, a panel per dataset."""
    found = {dataset: curves(experiments, study, dataset=dataset) for dataset in datasets(experiments)}
    return panels(
        {dataset: 3.6 for dataset, ours in found.items() if ours},
        lambda axes, dataset: draw_curves(axes, dataset, found[dataset], study),
        f"{study.label} (error bars: spread over the folds)",
    )


def accuracy_changes(experiments: Sequence[Experiment]) -> Figure | None:
    """Draw what the accuracy loses without groups of transformations, a panel per dataset."""
    found = {dataset: ablations(experiments, dataset=dataset) for dataset in datasets(experiments)}
    return panels(
        {dataset: 0.34 * len(ours) + 0.3 for dataset, ours in found.items() if ours},
        lambda axes, dataset: draw_changes(axes, dataset, found[dataset]),
        "change in points, spread over the folds",
    )


@matplotlib.rc_context(STYLE)
def panels(heights: Mapping[str, float], fill: Callable[[Axes, str], None], label: str) -> Figure | None:
    """Make a figure with a panel per dataset, one below the other, and one legend; None without any."""
    if not heights:
        return None
    figure = blank(height_inches=sum(heights.values()) + 1.6, width_inches=WIDTH_INCHES)
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights.values()))
    legend: dict[str, Any] = {}
    for axes, dataset in zip(rows[:, 0], heights, strict=True):
        fill(axes, dataset)
        handles, names = axes.get_legend_handles_labels()
        legend.update(zip(map(str, names), handles, strict=True))
    rows[-1, 0].set_xlabel(label)
    labels = sorted(legend, key=lambda label: ("the paper" in label, "random" in label))
    figure.legend([legend[label] for label in labels], labels, loc="outside lower center", ncols=2)
    return figure


def draw_curves(axes: Axes, dataset: str, points: Sequence[Point], study: Study) -> None:
    """Draw our curves solid, the paper's dotted, and untrained filters dashed; equal numbers have equal colours."""
    (setting, column), (several, counted) = study.axis, study.curve or ("", "")
    rows = [(p.settings.get(several, 0), p.settings[setting], 100 * p.accuracy, 100 * p.std) for p in points]
    ours = pd.DataFrame(rows, columns=["curve", "x", "percent", "std"])
    theirs, whose = published(study.source, dataset)
    theirs = theirs.assign(curve=theirs[counted] if counted else 0, x=theirs[column])
    for place, number in enumerate(sorted({*ours["curve"], *theirs["curve"]})):
        colour, which = COLOURS[place % len(COLOURS)], f", {number:,.0f} {counted}" if counted else ""
        for table, who, style in ((ours, "here", OURS), (theirs, whose, THEIRS)):
            line = table[table["curve"] == number].sort_values("x")
            if len(line):
                axes.errorbar(line["x"], line["percent"], line.get("std"), color=colour, label=f"{who}{which}", **style)
    for level, who, colour in ((untrained(points), "here", INK), (published_random(dataset), "the paper", GREY)):
        if not np.isnan(level):
            axes.axhline(level, color=colour, linestyle="--", label=f"random filters, {who}")
    axes.set(title=title(dataset, points[0]), ylabel="accuracy in percent", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()


def draw_changes(axes: Axes, dataset: str, points: Sequence[Point]) -> None:
    """Draw a bar for each condition, in the paper's order, the paper's number as a diamond, random filters dashed."""
    base, *others = points
    shortened = {condition(point): point for point in others}
    rows, whose = published("Figure 5", dataset)
    theirs = rows.set_index("condition")["percent"]
    names = [*(name for name in theirs.index if name in shortened), *sorted(set(shortened) - set(theirs.index))]
    places = np.arange(len(names))
    changes = [100 * (shortened[name].accuracy - base.accuracy) for name in names]
    axes.barh(places, changes, height=0.7, color=COLOURS[0], label="here")
    spread = [100 * shortened[name].std for name in names]
    axes.errorbar(changes, places, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.4, capsize=3.5)
    axes.plot(theirs.reindex(names), places, "D", color="white", markeredgecolor=INK, markersize=7, label=whose)
    if not np.isnan(base.random):
        level = 100 * (base.random - base.accuracy)
        axes.axvline(level, color=INK, linestyle="--", label="random filters, here")
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(title(dataset, base), loc="right")
    axes.grid(axis="x")
    axes.tick_params(length=0)


def published(source: str, dataset: str) -> tuple[pd.DataFrame, str]:
    """The paper's points of a figure for this dataset, or else for the first that it has, and whose they are."""
    rows = paper.numbers()
    rows = rows[(rows["source"] == source) & (rows["method"] == "exemplar")].drop(columns="std")
    if dataset in set(rows["dataset"]):
        return rows[rows["dataset"] == dataset], "the paper"
    other = rows["dataset"].iloc[0]
    return rows[rows["dataset"] == other], f"the paper on {other}"


def published_random(dataset: str) -> float:
    """What the paper reached with untrained filters, in percent; NaN where it does not say."""
    rows = paper.numbers()
    return float(rows[(rows["method"] == "random") & (rows["dataset"] == dataset)]["percent"].mean())


def untrained(points: Sequence[Point]) -> float:
    """The mean accuracy of untrained filters in percent, NaN where no experiment measured them."""
    levels = [100 * point.random for point in points if not np.isnan(point.random)]
    return float(np.mean(levels)) if levels else np.nan


def short(number: float) -> str:
    """`500` or `16k`."""
    return f"{number:g}" if number < 1000 else f"{number / 1000:g}k"


def title(dataset: str, point: Point) -> str:
    """What the points of a panel have in common."""
    seeds = f", {len(point.revisions)} random seeds" if len(point.revisions) > 1 else ""
    return f"{dataset}: {point.settings['model']}, seeds from {point.settings['unlabeled']}{seeds}"
