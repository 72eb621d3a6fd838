"""What `dvc exp show --csv` prints -> which experiments belong to each of the paper's figures, as flat data frames.

Only experiments count: the workspace or a commit may hold a params.yaml that was changed after its results were made.
Experiments belong together when their settings differ in what a figure varies, and in nothing else.
"""

import re
from ast import literal_eval
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from exemplar.report import shown
from exemplar.surrogate.ranges import resolve

SEED, RANGES = "random_seed", "transformation."
# What an encoder depends on, and how Figure 6 measures it. No other row changes its accuracy.
TASK = ("model", "unlabeled", "sources.", "seeds.", "surrogate.", RANGES)
DECIDING = (*TASK, "train.", "compute.precision", "invariance.")
MEASURED = ("invariance.",)  # decides nothing outside Figure 6
ACCURACY = re.compile(r"([^.]+)\.([^.]+)\.accuracy")
RESULTS = ("accuracy", "fold_std", "seed_std", "untrained", "random_seeds", "experiments", "revisions", "created")
Ranges = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A figure of accuracy against the number on its `axis`, with a curve for each value of `curve` if there is one.

    Both are a setting here and its column in paper.csv. Settings that are `free` may follow the axis: with few samples
    a class it takes more epochs to see each class equally often.
    """

    source: str
    label: str
    axis: tuple[str, str]
    free: tuple[str, ...] = MEASURED
    curve: tuple[str, str] = ("", "")


CLASSES, SAMPLES = ("seeds.count", "classes"), ("surrogate.samples", "samples")
FIGURE_3 = Study("Figure 3", "surrogate classes", axis=CLASSES)
FIGURE_4 = Study("Figure 4", "samples of each class", axis=SAMPLES, curve=CLASSES, free=(*MEASURED, "train.epochs"))


def canonical(value: object) -> object:
    """The value as it is compared: floats to six digits, which the files in runs/ write; lists as tuples."""
    if isinstance(value, list | tuple):
        return tuple(map(canonical, value))
    return float(f"{value:.6g}") if isinstance(value, float) else value


def prefixed(ranges: Ranges) -> dict[str, Any]:
    """Ranges under the names and in the form that settings have."""
    return {f"{RANGES}{name}": canonical(value) for name, value in ranges.items()}


# What switches a group of transformations off. The paper's contrast is both that along the principal components and
# that in HSV, of which the stretch of each patch is a part.
NEUTRAL: Mapping[str, Ranges] = {
    "rotation": prefixed({"angle_degrees": (0, 0)}),
    "scaling": prefixed({"scale_factor": (1, 1)}),
    "translation": prefixed({"shift_fraction": (0, 0)}),
    "color": prefixed({"hue_offset_turns": (0, 0)}),
    "contrast": prefixed(
        {"pca_log2_spread": (0, 0, 0), "stretch_fraction": 0}
        | {f"{of}_{name}": (1, 1) for of in ("saturation", "value") for name in ("power", "factor")}
        | {f"{of}_offset": (0, 0) for of in ("saturation", "value")}
    ),
}


def without(*groups: str) -> Ranges:
    """The ranges that switch groups of transformations off."""
    return {name: value for group in groups for name, value in NEUTRAL[group].items()}


def contrast(power: float | int, factor: float | int, offset: float) -> Ranges:
    """The ranges that the legend of Figure 6 means: powers and factors up to 2 to these numbers, and their inverses."""
    bounds = {"power": (2**-power, 2**power), "factor": (2**-factor, 2**factor), "offset": (-offset, offset)}
    return prefixed({f"{of}_{name}": pair for of in ("saturation", "value") for name, pair in bounds.items()})


# The networks of Figure 5 by the words of paper.csv, and by the ranges that make them.
GROUPS = [groups for count in range(1, len(NEUTRAL) + 1) for groups in combinations(NEUTRAL, count)]
CONDITIONS = {
    f"without {'all' if len(groups) == len(NEUTRAL) else '+'.join(groups)}": without(*groups) for groups in GROUPS
}
# The networks of Figure 6 by what is done to the test images, by the words of paper.csv, and by their ranges.
NETS: Mapping[str, Mapping[str, Ranges]] = {
    "angle_degrees": {
        "without movement": without("rotation", "scaling", "translation"),
        **{f"rotation up to {angle} degrees": prefixed({"angle_degrees": (-angle, angle)}) for angle in (20, 40)},
    },
    "hue_offset_turns": {
        "without color": without("color"),
        **{f"color up to {turns} turns": prefixed({"hue_offset_turns": (-turns, turns)}) for turns in (0.1, 0.2, 0.3)},
    },
    "contrast_factor": {
        "without contrast": without("contrast"),
        **{f"contrast {bounds}": contrast(*bounds) for bounds in ((2, 0.5, 0.1), (4, 1, 0.2), (6, 1.5, 0.3))},
    },
}


def load(text: str) -> pd.DataFrame:
    """Read the experiments that have a result, one a row: settings under their dotted names, accuracies 0 to 1.

    Every range is the one in force, also where params.yaml leaves it to the family. Raises UserError for other text.
    """
    experiments = shown.parse(text, "Experiment", "rev", "Created")
    settings = pd.DataFrame([settings_of(row) for row in experiments.to_dict("records")], index=experiments.index)
    accuracies = [name for name in map(str, experiments) if ACCURACY.fullmatch(name)]
    metrics = [*accuracies, *(name.replace(".accuracy", ".std") for name in accuracies)]
    measured: pd.DataFrame = experiments[metrics].apply(
        pd.to_numeric, errors="coerce"
    )  # DVC prints ! for what it cannot read
    has_result = (experiments["Experiment"] != "") & measured[accuracies].notna().any(axis=1)
    described = experiments[["Experiment", "rev", "Created"]].join([measured, settings])
    return described.loc[has_result].reset_index(drop=True)


def settings_of(row: Mapping[Any, str]) -> dict[str, Any]:
    """The cells of an experiment that hold numbers of params.yaml; an empty one is an empty string."""
    names = [name for name in row if name.startswith((*DECIDING, SEED, "probe.", "finetune.", "tasks."))]
    settings = {name: parse_cell(row[name]) for name in names}
    section = {name.removeprefix(RANGES): value for name, value in settings.items() if name.startswith(RANGES)}
    ranges = resolve({name: None if value == "" else value for name, value in section.items()})
    assert isinstance(ranges, dict)
    settings |= prefixed(ranges)
    settings.pop(f"{RANGES}family", None)
    return settings


def parse_cell(cell: str) -> object:
    """A number, a tuple or a string."""
    try:
        return canonical(literal_eval(cell))
    except (ValueError, SyntaxError):
        return cell


def rows_measured(experiments: pd.DataFrame) -> list[tuple[str, str]]:
    """Every dataset and row of the comparison that an experiment has an accuracy of."""
    measured = [name for name in map(str, experiments) if experiments[name].notna().any()]
    return [(match[1], match[2]) for match in map(ACCURACY.fullmatch, measured) if match]


def pool(
    experiments: pd.DataFrame, *, dataset: str, row: str = "exemplar", free: tuple[str, ...] = MEASURED
) -> pd.DataFrame:
    """One point for all experiments that differ only in random_seed, or in settings that begin as one of `free`.

    Beside the settings a point has the columns RESULTS: the mean accuracy over random seeds between 0 and 1, the root
    mean square of the spreads over the folds, the sample standard deviation over random seeds, and the mean accuracy of
    untrained filters. Of several experiments with the same random seed the newest counts.
    """
    tuned = row == "supervised" or row.endswith("-finetuned")
    own = ("finetune.", f"probe.{dataset}.validation") if tuned else (f"probe.{dataset}.",)
    own = (*own, f"tasks.{row.removesuffix('-finetuned')}.")
    skipped = (*free, "finetune.methods")
    names = [
        name for name in map(str, experiments) if name.startswith((*DECIDING, *own)) and not name.startswith(skipped)
    ]
    accuracy, untrained = f"{dataset}.{row}.accuracy", f"{dataset}.random.accuracy"
    measured = experiments[experiments[accuracy].notna()].sort_values("Created", kind="stable")
    newest = measured.drop_duplicates([*names, SEED], keep="last")
    columns = {"accuracy": newest[accuracy], "variance": newest[f"{dataset}.{row}.std"] ** 2}
    points = newest.assign(**columns, untrained=newest.get(untrained, np.nan)).groupby(names, sort=False).agg(
        accuracy=("accuracy", "mean"),
        fold_std=("variance", lambda variances: np.sqrt(variances.mean())),
        seed_std=("accuracy", "std"),
        untrained=("untrained", "mean"),
        random_seeds=("rev", "size"),
        experiments=("Experiment", tuple),
        revisions=("rev", tuple),
        created=("Created", "max"),
    )  # fmt: skip
    return points.reset_index()


def names_of_settings(points: pd.DataFrame) -> list[str]:
    """The columns of points that hold settings."""
    return [name for name in map(str, points) if name not in RESULTS]


def largest(groups: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The group with the most points, the newest one of several; an empty table where none has two."""
    several = [group for group in groups if len(group) > 1]
    return max(several, key=lambda group: (len(group), group["created"].max()), default=pd.DataFrame())


def curves(experiments: pd.DataFrame, study: Study, *, dataset: str) -> pd.DataFrame:
    """The largest set of points that differ in the study's numbers only; a curve has at least two points."""
    points = pool(experiments, dataset=dataset, free=study.free)
    of_curve = [name for name in names_of_settings(points) if name != study.axis[0]]
    fixed = [name for name in of_curve if name != study.curve[0]]
    points = points[points.groupby(of_curve)["accuracy"].transform("size") > 1]
    return largest(group for _, group in points.groupby(fixed, sort=False))


def whole(points: pd.DataFrame) -> list[dict[Any, Any]]:
    """The points that were trained under every group of transformations."""
    return [
        point
        for point in points.to_dict("records")
        if not any(all(point.get(name) == value for name, value in off.items()) for off in NEUTRAL.values())
    ]


def relatives(points: pd.DataFrame, base: Mapping[Any, Any], nets: Mapping[str, Ranges]) -> pd.DataFrame:
    """The points whose settings are those of `base` but for the ranges of one of `nets`, indexed by its name."""
    names = names_of_settings(points)
    index = {settings: row for row, settings in enumerate(points[names].itertuples(index=False, name=None))}
    known = {net: {**base, **ranges} for net, ranges in nets.items() if {*ranges} <= {*names}}
    sought = {net: tuple(settings[name] for name in names) for net, settings in known.items()}
    present = {net: index[settings] for net, settings in sought.items() if settings in index}
    return points.iloc[list(present.values())].set_axis(list(present), axis=0)


def ablations(experiments: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """The points of Figure 5 by condition, with "" for the one with all transformations: the largest such set."""
    points = pool(experiments, dataset=dataset)
    return largest(relatives(points, base, {"": {}, **CONDITIONS}) for base in whole(points))


def invariances(experiments: pd.DataFrame, *, dataset: str) -> dict[str, pd.DataFrame]:
    """The points of Figure 6 by kind of transformation and network: the largest such set, two or more of a kind."""
    points = pool(experiments, dataset=dataset, free=())
    points = points[["exemplar" in methods for methods in points.get("invariance.methods", [""] * len(points))]]
    sets = [{kind: relatives(points, base, nets) for kind, nets in NETS.items()} for base in whole(points)]
    several = [{kind: nets for kind, nets in each.items() if len(nets) > 1} for each in sets]
    return max(several, key=lambda each: rank(list(each.values())), default={})


def rank(tables: list[pd.DataFrame]) -> tuple[int, str]:
    """How many points there are, and when the last of them was made."""
    return sum(map(len, tables)), max((table["created"].max() for table in tables), default="")
