"""Charts of results: plain data in, a matplotlib figure out; no global state, and the same bytes every time."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

# Okabe and Ito's colours, which the common kinds of colour blindness keep apart; line styles repeat what they say.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
LINES = ("-", "--", "-.", ":")
READOUTS = {
    "probe": ("linear SVM on frozen features", COLOURS[0]),
    "finetune": ("whole network trained on the labels", COLOURS[1]),
}
INK, PALE = "#222222", "#dddddd"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # names of datasets and classes may hold a dollar sign
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "grid.color": PALE,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
# So narrow that words of 11 points can still be read, as if of 8 points, where a phone shows 3.7 inches.
WIDTH_INCHES, DOTS_PER_INCH = 5.0, 150
PALETTE_COLOURS = 256
EPOCHS_MARKED, TOLD_APART = 30, 3
CLASSES_NAMED, NAME_LETTERS = 20, 18


@matplotlib.rc_context(STYLE)
def png(figure: Figure) -> bytes:
    """Render a figure as a small PNG: a palette of 256 colours, and no date inside."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(PALETTE_COLOURS, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return small.getvalue()


def blank(*, height_inches: float, width_inches: float = WIDTH_INCHES) -> Figure:
    """Make an empty figure that arranges its own margins."""
    return Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, layout="constrained")


@matplotlib.rc_context(STYLE)
def accuracy_bars(table: pd.DataFrame) -> Figure:
    """Draw `comparison.table`, a panel per dataset: accuracy, its spread, the paper's number as a diamond."""
    datasets = list(table["dataset"].unique())
    rows = [int((table["dataset"] == dataset).sum()) for dataset in datasets]
    figure = blank(height_inches=0.34 * sum(rows) + 0.55 * len(rows) + 1.4)
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=[count + 0.6 for count in rows])
    legend: dict[str, Artist] = {}
    for axes, dataset in zip(panels[:, 0], datasets, strict=True):
        draw_bars(axes, table[table["dataset"] == dataset])
        axes.set_title(dataset)
        handles, labels = axes.get_legend_handles_labels()
        legend.update(zip(map(str, labels), handles, strict=True))
    panels[-1, 0].set_xlabel("accuracy in percent, with 95 % intervals")
    figure.legend(list(legend.values()), list(legend), loc="outside lower center")
    return figure


def draw_bars(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the rows of one dataset from top to bottom, their accuracies in a column at the right."""
    places = np.arange(len(rows))
    columns = ("accuracy_mean", "accuracy_margin", "paper_accuracy")
    mean, margin, paper = (100 * rows[column].to_numpy() for column in columns)
    for readout, (label, colour) in READOUTS.items():
        chosen = (rows["readout"] == readout).to_numpy()
        if chosen.any():
            axes.barh(places[chosen], mean[chosen], height=0.7, color=colour, label=label)
    axes.errorbar(mean, places, xerr=margin, fmt="none", ecolor=INK, elinewidth=1.4, capsize=3.5)
    if not np.isnan(paper).all():
        axes.plot(paper, places, "D", color="white", markeredgecolor=INK, markersize=7, label="the paper")
    for place, value in zip(places, mean, strict=True):
        axes.text(1.02, float(place), f"{value:.1f}", transform=axes.get_yaxis_transform(), va="center_baseline")
    axes.set_yticks(places, list(rows["method"]))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.grid(axis="x")
    axes.tick_params(length=0)


@matplotlib.rc_context(STYLE)
def learning_curves(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw loss, score and learning rate of each encoder that was trained against the epoch, one below the other.

    Of more encoders than can be told apart only the scores are drawn, each in a panel of its own.
    """
    trained = {name: frame for name, frame in curves.items() if len(frame)}
    if len(trained) > TOLD_APART:
        return score_panels(trained)
    figure = blank(height_inches=6.4)
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1.8])
    for place, (name, frame) in enumerate(trained.items()):
        colour, line = COLOURS[place % len(COLOURS)], LINES[place % len(LINES)]
        marker = "o" if len(frame) <= EPOCHS_MARKED else ""
        for axes, column in ((loss, "loss"), (score, "score")):
            axes.plot(frame["epoch"], frame[column], marker + line, color=colour, markersize=4, linewidth=2)
        score.plot(frame["epoch"], frame["held_out_score"], marker + ":", color=INK, markersize=3, linewidth=1.5)
        score.axhline(frame["chance"].iloc[0], color=colour, linestyle="--", linewidth=1)
        rate.plot(frame["epoch"], frame["learning_rate"], marker + line, color=colour, markersize=4, linewidth=2,
                  drawstyle="steps-mid", label=name)  # fmt: skip
    for axes, title in (
        (loss, "loss"),
        (score, "score (dotted: held out; dashes: chance)"),
        (rate, "learning rate"),
    ):
        axes.set_title(title)
        axes.grid()
    rate.set_yscale("log")
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    rate.yaxis.set_minor_formatter("")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    rate.set_xlabel("epoch")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def score_panels(trained: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the score of each training, two panels in a row, each with a scale of its own."""
    rows = -(-len(trained) // 2)
    figure = blank(height_inches=1.35 * rows + 0.5)
    panels = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, (name, frame) in zip(panels, trained.items(), strict=False):
        marker = "o" if len(frame) <= EPOCHS_MARKED else ""
        axes.plot(frame["epoch"], frame["score"], f"{marker}-", color=COLOURS[0], markersize=3, label="score")
        axes.plot(frame["epoch"], frame["held_out_score"], f"{marker}:", color=INK, markersize=2, label="held out")
        axes.axhline(frame["chance"].iloc[0], color=COLOURS[0], linestyle="--", linewidth=1, label="chance")
        axes.set_title(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=4))
        axes.grid()
    for axes in panels[len(trained) :]:
        axes.remove()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@matplotlib.rc_context(STYLE)
def confusion_matrix(counts: Int[np.ndarray, "classes classes"], *, classes: list[str], title: str) -> Figure:
    """Draw in percent which class (row) was taken for which (column); a few classes are named, many only coloured."""
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = blank(height_inches=4.9, width_inches=4.9)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axes.set(title=title, xlabel="taken for", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(classes) > CLASSES_NAMED:
        return figure
    places = range(len(classes))
    names = [name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…" for name in classes]
    axes.set_xticks(places, names, rotation=90, fontsize=9)
    axes.set_yticks(places, names, fontsize=9)
    for row in places:
        for column in places:
            colour = "white" if share[row, column] > 55 else INK
            axes.text(column, row, f"{share[row, column]:.0f}", color=colour, ha="center", va="center", fontsize=8)
    return figure
