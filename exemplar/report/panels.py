"""Curves of invariance: what the stage wrote about each encoder, beside each other and beside the paper's Figure 6."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from exemplar.errors import UserError, reason
from exemplar.report.figures import COLOURS, INK, LINES, STYLE, blank

LABELS = {
    "shift_fraction": "shift, of the crop's side",
    "angle_degrees": "rotation, degrees",
    "scale_factor": "zoom factor",
    "hue_offset_turns": "hue offset, turns",
    "contrast_factor": "contrast factor",
}
SHARES = ["accuracy", "accuracy_low", "accuracy_high"]
NUMBERS = ["magnitude", *SHARES, "distance_pooled"]
NAMES = ["transformation", "dataset", "method"]
RATIOS = ("scale_factor", "contrast_factor")


def load(paths: Sequence[Path]) -> pd.DataFrame:
    """Read the tables of several encoders and datasets as one; a layer that a network lacks is empty."""
    tables = []
    for path in paths:
        try:
            tables.append(pd.read_csv(path))
            require_curves(tables[-1])
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read the invariance {path} ({reason(error)}); remove it and run the invariance stage"
            ) from None
    return pd.concat(tables, ignore_index=True)


def require_curves(table: pd.DataFrame) -> None:
    """Raise ValueError for a table that is not what the invariance stage writes about one encoder."""
    if not {*NUMBERS, *NAMES} <= set(table.columns) or not len(table):
        raise ValueError(f"expected rows with the columns {', '.join((*NUMBERS, *NAMES))}")
    if unknown := set(table["transformation"]) - set(LABELS):
        raise ValueError(f"it has the transformation {min(map(str, unknown))!r}; expected {', '.join(LABELS)}")
    measured = table[[name for name in table.columns if name not in NAMES]].to_numpy(np.float64)
    if not np.isfinite(measured).all() or not all(table[name].between(0, 1).all() for name in SHARES):
        raise ValueError("expected finite numbers, and accuracies between 0 and 1")
    if table[NAMES[1:]].isna().any(axis=None) or len(table.drop_duplicates(NAMES[1:])) > 1:
        raise ValueError("expected one dataset and one method throughout")


@matplotlib.rc_context(STYLE)
def invariance_curves(table: pd.DataFrame, marks: pd.DataFrame) -> Figure:
    """Draw one dataset: a row per transformation, at the left distances of pooled features, at the right accuracy.

    The line at 1 is the distance of two different images, and the bands are the intervals of the accuracies. `marks`
    are the paper's numbers of this dataset, as `paper.invariance` finds them.
    """
    names = list(table["transformation"].unique())
    figure = blank(height_inches=1.75 * len(names) + 0.9)
    panels = figure.subplots(len(names), 2, squeeze=False, sharey="col")
    legend: dict[str, Artist] = {}
    for (distance, accuracy), name in zip(panels, names, strict=True):
        rows = table[table["transformation"] == name]
        for place, (method, curve) in enumerate(rows.groupby("method", sort=False)):
            draw_encoder(distance, accuracy, curve, place=place, label=str(method))
        distance.axhline(1, color=INK, linestyle=":", linewidth=1.2)
        draw_paper(accuracy, marks[marks["transformation"] == name])
        for axes in (distance, accuracy):
            arrange(axes, name, sorted(map(float, rows["magnitude"].unique())))
        legend.update({str(line.get_label()): line for line in accuracy.lines})
    panels[0, 0].set_title("distance of features")
    inside = panels[0, 0].get_yaxis_transform()
    panels[0, 0].text(0.5, 0.96, "another picture", transform=inside, ha="center", va="top", fontsize=9)
    panels[0, 1].set_title("accuracy, %")
    for axes in panels[0]:
        axes.set_ylim(bottom=0)
    figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=3)
    return figure


def draw_encoder(distance: Axes, accuracy: Axes, curve: pd.DataFrame, *, place: int, label: str) -> None:
    """Draw how one encoder's features move and what its accuracy is, in the colour of its place in the table."""
    colour, line = COLOURS[place % len(COLOURS)], f"o{LINES[place % len(LINES)]}"
    for axes, heights in ((distance, curve["distance_pooled"]), (accuracy, 100 * curve["accuracy"])):
        axes.plot(curve["magnitude"], heights, line, color=colour, markersize=3.5, linewidth=1.8, label=label)
    low, high = 100 * curve["accuracy_low"], 100 * curve["accuracy_high"]
    accuracy.fill_between(curve["magnitude"], low, high, color=colour, alpha=0.15, linewidth=0)


def draw_paper(axes: Axes, marks: pd.DataFrame, *, colour: str = INK, label: str = "the paper") -> None:
    """Mark what the paper's nets reached, as a range where only a range could be read."""
    if len(marks):
        middles = marks["percent"].fillna((marks["low"] + marks["high"]) / 2)
        axes.vlines(marks["magnitude"], marks["low"], marks["high"], color=colour, linewidth=1.2)
        axes.plot(marks["magnitude"], middles, "D", color=colour, markerfacecolor="white", markersize=5, label=label)


def arrange(axes: Axes, name: str, magnitudes: Sequence[float]) -> None:
    """Name an axis; ratios are spread by their logarithms."""
    axes.set_xlabel(LABELS[name])
    axes.grid()
    if name in RATIOS:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(magnitudes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ratio(value)))
        axes.tick_params(axis="x", labelsize=9)


def ratio(value: float) -> str:
    """`8`, `0.84` or `1/8`."""
    inverse = round(1 / value)
    return f"1/{inverse}" if inverse > 1 and inverse * value == 1 else f"{value:g}"
