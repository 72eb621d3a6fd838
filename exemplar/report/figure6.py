"""The paper's Figure 6: nets trained under different ranges, and their accuracy when the test images change.

The paper's points are drawn where they apply: on its dataset, with its seeds, and for those of its nets that are here.
"""

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from exemplar.report import paper
from exemplar.report.experiments import Experiment, Point, Value, datasets, points
from exemplar.report.figures import COLOURS, STYLE, blank
from exemplar.report.panels import LABELS, arrange, draw_paper
from exemplar.report.studies import NEUTRAL, removed
from exemplar.surrogate.ranges import resolve

RANGES = "transformation."
ANGLE, HUE = f"{RANGES}angle_degrees", f"{RANGES}hue_offset_turns"
WITH_COLOUR = "with color"  # the paper's numbers of all nets that saw changed hues


def contrast(power: float, factor: float, offset: float) -> dict[str, Value]:
    """The ranges that the figure's legend means: powers and factors up to 2 to these numbers, and their inverses."""
    bounds = {"power": (2**-power, 2**power), "factor": (2**-factor, 2**factor), "offset": (-offset, offset)}
    return {f"{RANGES}{of}_{name}": pair for of in ("saturation", "value") for name, pair in bounds.items()}


# What is done to the test images: its part of paper.csv, and the nets by its words, each by what it was trained under.
SOURCES = {
    "angle_degrees": "Figure 6 rotation",
    "hue_offset_turns": "Figure 6 hue",
    "contrast_factor": "Figure 6 contrast",
}
NETS: Mapping[str, Mapping[str, Mapping[str, Value]]] = {
    "angle_degrees": {
        "without movement": {**NEUTRAL["rotation"], **NEUTRAL["scaling"], **NEUTRAL["translation"]},
        "rotation up to 20 degrees": {ANGLE: (-20, 20)},
        "rotation up to 40 degrees": {ANGLE: (-40, 40)},
    },
    "hue_offset_turns": {
        "without color": NEUTRAL["color"],
        **{f"color up to {turns} turns": {HUE: (-turns, turns)} for turns in (0.1, 0.2, 0.3)},
    },
    "contrast_factor": {
        "without contrast": NEUTRAL["contrast"],
        "contrast (2, 0.5, 0.1)": contrast(2.0, 0.5, 0.1),
        "contrast (4, 1, 0.2)": contrast(4.0, 1.0, 0.2),
        "contrast (6, 1.5, 0.3)": contrast(6.0, 1.5, 0.3),
    },
}
# The table that the stage `invariance` wrote about the exemplar encoder, for a dataset and a revision.
Reader = Callable[[str, str], pd.DataFrame]
Found = dict[str, dict[str, Point]]


def draw(experiments: Sequence[Experiment], read: Reader) -> Figure | None:
    """Draw a panel for each dataset and kind of transformation; None where no two nets differ in its ranges alone."""
    found = {dataset: nets(experiments, dataset=dataset) for dataset in datasets(experiments)}
    wanted = [(dataset, part, ours) for dataset, parts in found.items() for part, ours in parts.items()]
    return panels(wanted, read) if wanted else None


def nets(experiments: Sequence[Experiment], *, dataset: str) -> Found:
    """For each kind of transformation the nets that differ in its ranges only: the largest such set, and the newest."""
    measured = [point for point in points(experiments, dataset=dataset) if "exemplar" in methods(point)]
    measured.sort(key=lambda point: point.created)  # of two that are alike but in how params.yaml says it, the newer
    sets = [family(measured, base) for base in measured if not removed(base)]
    return max(sets, key=rank, default={})


def family(measured: Sequence[Point], base: Point) -> Found:
    """The nets that differ from one in the ranges of a kind of transformation only, where there are two or more."""
    found = {
        part: {name: point for name, ranges in nets.items() for point in measured if matches(point, base, ranges)}
        for part, nets in NETS.items()
    }
    return {part: ours for part, ours in found.items() if len(ours) > 1}


def rank(found: Found) -> tuple[int, str]:
    """How many nets there are, and when the last of them was made."""
    every = [point for ours in found.values() for point in ours.values()]
    return len(every), max((point.created for point in every), default="")


def methods(point: Point) -> Sequence[object]:
    """The encoders whose invariance was measured."""
    found = point.settings.get("invariance.methods")
    return found if isinstance(found, tuple) else ()


def matches(point: Point, base: Point, ranges: Mapping[str, Value]) -> bool:
    """Whether the settings are those of the base but for these ranges."""
    wanted, found = {**in_force(base), **ranges}, in_force(point)
    return others(point) == others(base) and all(same(found[name], value) for name, value in wanted.items())


def in_force(point: Point) -> dict[str, Value]:
    """Every range of a net, those that params.yaml leaves to the family among them."""
    section = {name.removeprefix(RANGES): value for name, value in point.settings.items() if name.startswith(RANGES)}
    resolved = resolve(section)
    assert isinstance(resolved, dict)
    return {f"{RANGES}{name}": value for name, value in resolved.items() if name != "family"}


def others(point: Point) -> dict[str, Value]:
    """Every setting of a net but its ranges."""
    return {name: value for name, value in point.settings.items() if not name.startswith(RANGES)}


def same(one: Value, other: Value) -> bool:
    """Whether two ranges are equal, as closely as a file in runs/ writes them down."""
    return one == other or (not isinstance(one, str) and np.allclose(np.array(one), np.array(other), rtol=1e-6))


@matplotlib.rc_context(STYLE)
def panels(wanted: Sequence[tuple[str, str, Mapping[str, Point]]], read: Reader) -> Figure:
    """Draw the panels one below the other, each with a legend of its own."""
    figure = blank(height_inches=2.9 * len(wanted), width_inches=8.4)
    for axes, (dataset, part, ours) in zip(figure.subplots(len(wanted), 1, squeeze=False)[:, 0], wanted, strict=True):
        theirs = marks(part, ours, dataset=dataset)
        names = dict.fromkeys([*ours, *theirs["condition"]])
        colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
        for name, point in ours.items():
            curve = accuracy([read(dataset, revision) for revision in point.revisions], part)
            axes.plot(curve, "o-", color=colours[name], markersize=4, linewidth=2, label=f"here, {name}")
        for condition, rows in theirs.groupby("condition", sort=False):
            draw_paper(axes, rows, colour=colours[str(condition)], label=f"the paper, {condition}")
        arrange(axes, part, sorted(curve.index))
        axes.set(title=f"{dataset}: {LABELS[part]}", xlabel="", ylabel="accuracy in percent")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def marks(part: str, ours: Mapping[str, Point], *, dataset: str) -> pd.DataFrame:
    """The paper's numbers of the nets that are here too, on the set that it measured and with seeds from its set."""
    names = {*ours} | {WITH_COLOUR for name in ours if name.startswith("color up to")}
    rows = paper.either_way(SOURCES[part])
    sets = {point.settings["unlabeled"] for point in ours.values()}
    return rows[(rows["dataset"] == dataset) & rows["unlabeled"].isin(sets) & rows["condition"].isin(names)]


def accuracy(tables: Sequence[pd.DataFrame], part: str) -> "pd.Series[float]":
    """The accuracy in percent by magnitude, the mean over random seeds."""
    rows = pd.concat(tables)
    mean: pd.Series[float] = 100 * rows[rows["transformation"] == part].groupby("magnitude")["accuracy"].mean()
    return mean
