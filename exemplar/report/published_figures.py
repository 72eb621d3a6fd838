"""The paper's Figures 3 to 6, drawn from our experiments with the paper's numbers beside ours."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from exemplar.report import paper, published
from exemplar.report.figures import COLOURS, INK, STYLE, blank
from exemplar.report.panels import LABELS, arrange, draw_paper
from exemplar.report.published import FIGURE_3, FIGURE_4, Study

GREY, WIDTH_INCHES = "#888888", 6.4
OURS: dict[str, Any] = {"fmt": "o-", "markersize": 5, "linewidth": 2, "capsize": 3}
THEIRS: dict[str, Any] = {"fmt": "D:", "markersize": 5, "linewidth": 1.2, "markerfacecolor": "white"}
TICKS = (1.0, 2.0, 5.0)  # a logarithmic axis has ticks at these multiples of each power of ten
WITH_COLOUR = "with color"  # the paper's numbers of all networks that saw changed hues
FIGURE_6 = {
    "angle_degrees": "Figure 6 rotation",
    "hue_offset_turns": "Figure 6 hue",
    "contrast_factor": "Figure 6 contrast",
}
# Loads the table that the stage `invariance` wrote about the exemplar encoder, for a dataset and a revision.
Loader = Callable[[str, str], pd.DataFrame]
Panel = tuple[float, Callable[[Axes], None]]


def draw(experiments: pd.DataFrame, load_invariance: Loader) -> dict[str, Figure | None]:
    """Draw the figures, by their names in the paper; None stands for one that no experiments belong to."""
    datasets = [dataset for dataset, row in published.rows_measured(experiments) if row == "exemplar"]
    return {
        "Figure 3": draw_study(experiments, datasets, FIGURE_3),
        "Figure 4": draw_study(experiments, datasets, FIGURE_4),
        "Figure 5": draw_ablations(experiments, datasets),
        "Figure 6": draw_invariances(experiments, datasets, load_invariance),
    }


def draw_study(experiments: pd.DataFrame, datasets: Sequence[str], study: Study) -> Figure | None:
    """Draw accuracy against the number on the study's axis, a panel per dataset."""
    points = {dataset: published.curves(experiments, study, dataset=dataset) for dataset in datasets}
    panels: list[Panel] = [
        (3.6, partial(draw_curves, dataset=dataset, points=ours, study=study))
        for dataset, ours in points.items()
        if len(ours)
    ]
    return stack(panels, f"{study.label} (error bars: spread over the folds)")


def draw_ablations(experiments: pd.DataFrame, datasets: Sequence[str]) -> Figure | None:
    """Draw what the accuracy loses without groups of transformations, a panel per dataset."""
    points = {dataset: published.ablations(experiments, dataset=dataset) for dataset in datasets}
    panels: list[Panel] = [
        (0.34 * len(ours) + 0.3, partial(draw_changes, dataset=dataset, points=ours))
        for dataset, ours in points.items()
        if len(ours)
    ]
    return stack(panels, "change in points, spread over the folds")


@matplotlib.rc_context(STYLE)
def stack(panels: Sequence[Panel], label: str) -> Figure | None:
    """Make a figure of panels (height in inches, what draws it) with one legend below; None without any."""
    if not panels:
        return None
    heights = [height for height, _ in panels]
    figure = blank(height_inches=sum(heights) + 1.6, width_inches=WIDTH_INCHES)
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    legend: dict[str, Any] = {}
    for axes, (_, fill) in zip(rows, panels, strict=True):
        fill(axes)
        handles, names = axes.get_legend_handles_labels()
        legend.update(zip(map(str, names), handles, strict=True))
    rows[-1].set_xlabel(label)
    labels = sorted(legend, key=lambda name: ("the paper" in name, "random" in name))
    figure.legend([legend[name] for name in labels], labels, loc="outside lower center", ncols=2)
    return figure


def draw_curves(axes: Axes, *, dataset: str, points: pd.DataFrame, study: Study) -> None:
    """Draw our curves solid, the paper's dotted, and untrained filters dashed; equal numbers have equal colours."""
    (setting, column), (several, counted) = study.axis, study.curve
    ours = points.assign(curve=points.get(several, 0), x=points[setting], percent=100 * points["accuracy"])
    ours["std"] = 100 * ours["fold_std"]
    theirs, whose = reported_points(study.source, dataset)
    theirs = theirs.assign(curve=theirs.get(counted, 0), x=theirs[column])
    for place, number in enumerate(sorted({*ours["curve"], *theirs["curve"]})):
        colour, which = COLOURS[place % len(COLOURS)], f", {number:,.0f} {counted}" if counted else ""
        for table, who, style in ((ours, "here", OURS), (theirs, whose, THEIRS)):
            line = table[table["curve"] == number].sort_values("x")
            if len(line):
                axes.errorbar(line["x"], line["percent"], line.get("std"), color=colour, label=f"{who}{which}", **style)
    untrained = 100 * points["untrained"].mean()
    for level, who, colour in ((untrained, "here", INK), (reported_random(dataset), "the paper", GREY)):
        if not np.isnan(level):
            axes.axhline(level, color=colour, linestyle="--", label=f"random filters, {who}")
    axes.set(title=title(dataset, points), ylabel="accuracy in percent", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()


def draw_changes(axes: Axes, *, dataset: str, points: pd.DataFrame) -> None:
    """Draw a bar for each condition, in the paper's order, the paper's number as a diamond, random filters dashed."""
    rows, whose = reported_points("Figure 5", dataset)
    theirs = rows.set_index("condition")["percent"]
    conditions = set(points.index) - {""}
    names = [*(name for name in theirs.index if name in conditions), *sorted(conditions - set(theirs.index))]
    places, whole = np.arange(len(names)), points.loc[""]
    changes = 100 * (points.loc[names, "accuracy"] - whole["accuracy"])
    axes.barh(places, changes, height=0.7, color=COLOURS[0], label="here")
    spread = 100 * points.loc[names, "fold_std"]
    axes.errorbar(changes, places, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.4, capsize=3.5)
    axes.plot(theirs.reindex(names), places, "D", color="white", markeredgecolor=INK, markersize=7, label=whose)
    level = 100 * (points["untrained"] - points["accuracy"])[""]
    if not np.isnan(level):
        axes.axvline(level, color=INK, linestyle="--", label="random filters, here")
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(title(dataset, points), loc="right")
    axes.grid(axis="x")
    axes.tick_params(length=0)


@matplotlib.rc_context(STYLE)
def draw_invariances(experiments: pd.DataFrame, datasets: Sequence[str], load_invariance: Loader) -> Figure | None:
    """Draw a panel for each dataset and kind of transformation, each with a legend of its own."""
    panels = [
        (dataset, kind, nets)
        for dataset in datasets
        for kind, nets in published.invariances(experiments, dataset=dataset).items()
    ]
    if not panels:
        return None
    figure = blank(height_inches=2.9 * len(panels), width_inches=8.4)
    for axes, (dataset, kind, nets) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        tables = [load_invariance(dataset, revision) for revisions in nets["revisions"] for revision in revisions]
        names = [name for name, revisions in nets["revisions"].items() for _ in revisions]
        draw_nets(axes, kind, pd.concat(tables, keys=names, names=["net"]), reported_nets(kind, nets, dataset=dataset))
        axes.set(title=f"{dataset}: {LABELS[kind]}", xlabel="", ylabel="accuracy in percent")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def draw_nets(axes: Axes, kind: str, measured: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Draw the accuracy of each network against the magnitude, the mean over random seeds, and the paper's marks."""
    curves = (
        100 * measured[measured["transformation"] == kind].groupby(["net", "magnitude"], sort=False)["accuracy"].mean()
    )
    names = dict.fromkeys([*measured.index.unique("net"), *theirs["condition"]])
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    for name, curve in curves.groupby("net", sort=False):
        curve = curve.droplevel("net").sort_index()
        axes.plot(curve, "o-", color=colours[name], markersize=4, linewidth=2, label=f"here, {name}")
    for condition, rows in theirs.groupby("condition", sort=False):
        draw_paper(axes, rows, colour=colours[condition], label=f"the paper, {condition}")
    arrange(axes, kind, sorted(curves.index.unique("magnitude")))


def reported_nets(kind: str, nets: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """The paper's numbers of the networks that are here too, on the set that it measured, with seeds from its set."""
    names = {*nets.index} | {WITH_COLOUR for name in nets.index if name.startswith("color up to")}
    rows = paper.either_way(FIGURE_6[kind])
    unlabeled = rows["unlabeled"].isin(nets["unlabeled"])
    return rows[(rows["dataset"] == dataset) & unlabeled & rows["condition"].isin(names)]


def reported_points(source: str, dataset: str) -> tuple[pd.DataFrame, str]:
    """The paper's points of a figure for this dataset, or else for the first that it has, and whose they are."""
    rows = paper.load()
    rows = rows[(rows["source"] == source) & (rows["method"] == "exemplar")].drop(columns="std")
    if dataset in set(rows["dataset"]):
        return rows[rows["dataset"] == dataset], "the paper"
    other = rows["dataset"].iloc[0]
    return rows[rows["dataset"] == other], f"the paper on {other}"


def reported_random(dataset: str) -> float:
    """What the paper reached with untrained filters, in percent; NaN where it does not say."""
    rows = paper.load()
    return float(rows[(rows["method"] == "random") & (rows["dataset"] == dataset)]["percent"].mean())


def short(number: float) -> str:
    """`500`, `16k` or `2.5M`."""
    unit, letter = next(each for each in ((1e6, "M"), (1e3, "k"), (1, "")) if number >= each[0] or each[0] == 1)
    return f"{number / unit:g}{letter}"


def title(dataset: str, points: pd.DataFrame) -> str:
    """What the points of a panel have in common."""
    point = points.iloc[0]
    seeds = f", {point['random_seeds']} random seeds" if point["random_seeds"] > 1 else ""
    return f"{dataset}: {point['model']}, seeds from {point['unlabeled']}{seeds}"
