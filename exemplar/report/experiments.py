"""What `dvc exp show --csv` prints -> accuracies that stand side by side, each with the numbers that it follows from.

Only experiments count. Their numbers are those that they were run with, while the workspace or a commit may hold a
params.yaml that was changed after its results were made.
"""

import csv
from ast import literal_eval
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exemplar.errors import UserError

SEED = "random_seed"
# Neither the machine nor another row of the comparison changes what an encoder and its probe reach.
DECIDING = ("model", SEED, "unlabeled", "seeds.", "surrogate.", "transformation.", "train.", "probe.", "invariance.")

Value = int | float | str | tuple[int | float | str, ...] | None
Settings = Mapping[str, Value]


@dataclass(frozen=True)
class Experiment:
    """Its settings under their dotted names, and its accuracies (mean, std) between 0 and 1 by dataset and method.

    `revision` is the commit that DVC keeps it in.
    """

    name: str
    revision: str
    created: str
    settings: Settings
    accuracy: Mapping[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True)
class Point:
    """What the exemplar encoder reached with some settings, the mean over random seeds; `std` is that over the folds.

    There is one of `revisions` for each random seed. `random` is the accuracy of untrained filters in the same
    experiments, NaN where they were not measured.
    """

    settings: Settings
    accuracy: float
    std: float
    random: float
    revisions: tuple[str, ...]
    created: str


def read(table: str) -> list[Experiment]:
    """Read all experiments that have a result."""
    lines = csv.DictReader(table.splitlines())
    if not {"Experiment", "rev", "Created"} <= set(lines.fieldnames or ()):
        raise UserError(f"{table[:60]!r} is no table of experiments; expected what `dvc exp show --csv` prints")
    rows = [row for row in lines if row["Experiment"]]
    found = [Experiment(row["Experiment"], row["rev"], row["Created"], settings(row), accuracies(row)) for row in rows]
    return [experiment for experiment in found if experiment.accuracy]


def settings(row: Mapping[str, str]) -> Settings:
    """The cells of a row that hold the numbers of params.yaml."""
    names = [name for name in row if name.startswith(DECIDING)]
    return {name: value(row[name]) for name in names}


def value(cell: str) -> Value:
    """What a cell stands for: a number, a tuple of them, a string, or None where it is empty."""
    try:
        found: Any = literal_eval(cell)
    except (ValueError, SyntaxError):
        return cell or None
    read: Value = tuple(found) if isinstance(found, list) else found
    return read


def accuracies(row: Mapping[str, str]) -> dict[tuple[str, str], tuple[float, float]]:
    """The cells `<dataset>.<method>.accuracy` and `.std` that hold a number; `!` says that there was an error."""
    found = {}
    for name in row:
        dataset, _, rest = name.partition(".")
        method, _, last = rest.partition(".")
        if last == "accuracy" and row[name] not in ("", "!"):
            found[dataset, method] = float(row[name]), float(row[f"{dataset}.{method}.std"])
    return found


def datasets(experiments: Iterable[Experiment]) -> list[str]:
    """All datasets that the exemplar encoder was measured on."""
    pairs = [pair for experiment in experiments for pair in experiment.accuracy]
    return list(dict.fromkeys(dataset for dataset, method in pairs if method == "exemplar"))


def points(experiments: Iterable[Experiment], *, dataset: str, free: tuple[str, ...] = ()) -> list[Point]:
    """One point for all experiments that differ only in their random seed, or in settings that begin as one of `free`.

    Of several with the same random seed the newest counts.
    """
    groups: defaultdict[frozenset[tuple[str, Value]], dict[Value, Experiment]] = defaultdict(dict)
    for experiment in sorted(experiments, key=lambda each: each.created):
        if (dataset, "exemplar") in experiment.accuracy:
            group = frozenset(deciding(experiment.settings, dataset=dataset, free=free).items())
            groups[group][experiment.settings.get(SEED)] = experiment
    return [pool(dict(group), list(members.values()), dataset=dataset) for group, members in groups.items()]


def deciding(settings: Settings, *, dataset: str, free: tuple[str, ...]) -> Settings:
    """The settings without the random seed, those that are free, and the probes of other datasets."""
    kept = {name: value for name, value in settings.items() if name != SEED and not name.startswith(free)}
    own = f"probe.{dataset}."
    return {name: value for name, value in kept.items() if name.startswith(own) or not name.startswith("probe.")}


def pool(settings: Settings, members: Sequence[Experiment], *, dataset: str) -> Point:
    """The point of experiments that differ in their random seed."""
    mean, std = np.array([member.accuracy[dataset, "exemplar"] for member in members]).T
    untrained = [member.accuracy[dataset, "random"][0] for member in members if (dataset, "random") in member.accuracy]
    return Point(
        settings=settings,
        accuracy=float(mean.mean()),
        std=float(np.sqrt((std**2).mean())),
        random=float(np.mean(untrained)) if untrained else np.nan,
        revisions=tuple(member.revision for member in members),
        created=max(member.created for member in members),
    )


def alike(found: Iterable[Point], *, varied: Collection[str]) -> list[list[Point]]:
    """Points that differ in the varied settings only, together."""
    groups: defaultdict[frozenset[tuple[str, Value]], list[Point]] = defaultdict(list)
    for point in found:
        groups[frozenset(item for item in point.settings.items() if item[0] not in varied)].append(point)
    return list(groups.values())


def largest(groups: Iterable[list[Point]]) -> list[Point]:
    """The group with the most points, the newest one of several; an empty list where there is none."""
    return max(groups, key=lambda group: (len(group), max((point.created for point in group), default="")), default=[])
