"""All experiments of a repository as one table: their names, what was changed, and the accuracy of every row."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from exemplar.io import provenance
from exemplar.report import shown
from exemplar.report.published import SEED

WIDTH, NAME_WIDTH, CELL_WIDTH = 100, 22, 13
METRIC = (".accuracy", ".std", ".margin", ".knn_accuracy")
DESCRIBING = ("Experiment", "rev", "typ", "Created", "parent", "State", "Executor")


Numbers = dict[str, dict[str, float]]  # by dataset and row, between 0 and 1


@dataclass(frozen=True)
class Line:
    """An experiment: what differs from the commit that it began at, what it reached, and how sure that is.

    `margin` is half the width of a 95 % interval over folds and test images; `alike` is equal for experiments that
    differ in their random seed alone.
    """

    name: str
    random_seed: str
    changed: dict[str, str]
    accuracy: Numbers
    margin: Numbers
    alike: str


def baselines() -> list[str]:
    """The commits that experiments began at; DVC keeps each experiment under refs/exps and the id of its commit."""
    refs = provenance.git("for-each-ref", "--format=%(refname)", "refs/exps").decode().split()
    parts = (ref.split("/") for ref in refs)
    return sorted({"".join(part[2:4]) for part in parts if len(part) == 5 and len(part[2]) == 2})


def show() -> str:
    """What `dvc exp show --csv` prints of the workspace and of all experiments, leaving out the many other commits.

    Raises UserError with DVC's own words where it fails.
    """
    return shown.show(*(word for commit in ("HEAD", *baselines()) for word in ("--rev", commit)))


def read(text: str) -> list[Line]:
    """The workspace and the experiments that have an accuracy; raises UserError for a text that is no such table."""
    return list(lines(shown.parse(text, "Experiment", "rev", "typ")))


def lines(table: pd.DataFrame) -> Iterator[Line]:
    """The lines of a table in which every experiment stands below its commit, and the workspace before its own."""
    records = [{str(name): str(cell) for name, cell in row.items()} for row in table.to_dict("records")]
    settings = [
        name for name in map(str, table) if name not in DESCRIBING and "/" not in name and not name.endswith(METRIC)
    ]
    commits = [row for row in records if row["typ"] == "baseline" and row["rev"] != "workspace"]
    beginning = commits[0] if commits else {}
    for row in records:
        if row in commits:
            beginning = row
            continue
        changed = {name: row[name] for name in settings if beginning and row[name] != beginning[name]}
        alike = json.dumps({name: row[name] for name in settings if name != SEED})
        line = Line(
            row["Experiment"] or row["rev"],
            row.get(SEED, ""),
            changed,
            numbers(row, "accuracy"),
            numbers(row, "margin"),
            alike,
        )
        if line.accuracy:
            yield line


def numbers(row: dict[str, str], kind: str) -> Numbers:
    """The numbers of one kind of an experiment; DVC prints ! for what it cannot read."""
    found: Numbers = {}
    for name, cell in row.items():
        parts = name.rsplit(".", 2)
        if len(parts) == 3 and parts[2] == kind and re.fullmatch(r"[\d.e-]+", cell):
            found.setdefault(parts[0], {})[parts[1]] = float(cell)
    return found


def as_json(listed: Iterable[Line]) -> list[dict[str, Any]]:
    """The experiments for programs."""
    return [{name: value for name, value in asdict(line).items() if name != "alike"} for line in listed]


def pooled(listed: Sequence[Line], dataset: str, row: str) -> tuple[float, float, float]:
    """Mean, spread and half the 95 % interval of a row over experiments with several random seeds.

    The spread is the sample standard deviation over the seeds. The interval is Student's t of the seeds' means, and
    that of folds and test images, which all seeds share, is added to it as independent.
    """
    values = np.array([line.accuracy[dataset][row] for line in listed])
    margins = np.array([line.margin.get(dataset, {}).get(row, 0.0) for line in listed])
    spread = float(values.std(ddof=1))
    of_seeds = stdtrit(len(values) - 1, 0.975) * spread / np.sqrt(len(values))
    return float(values.mean()), spread, float(np.hypot(of_seeds, np.sqrt((margins**2).mean())))


def repeated(listed: Sequence[Line], dataset: str) -> Iterator[list[Line]]:
    """The experiments that differ in their random seed alone; of several with one seed the first counts."""
    groups: dict[str, dict[str, Line]] = {}
    for line in sorted(listed, key=lambda line: line.name == "workspace"):
        if dataset in line.accuracy:
            groups.setdefault(line.alike, {}).setdefault(line.random_seed, line)
    yield from (list(seeds.values()) for seeds in groups.values() if len(seeds) > 1)


def as_text(listed: Sequence[Line]) -> str:
    """The experiments for people: a part per dataset, accuracies in percent, at most 100 columns wide."""
    datasets = list(dict.fromkeys(dataset for line in listed for dataset in line.accuracy))
    if not datasets:
        return "there are no results yet; make repro makes them"
    return "\n\n".join("\n".join(part(listed, dataset)) for dataset in datasets)


def part(listed: Sequence[Line], dataset: str) -> Iterator[str]:
    """The lines of one dataset; rows that do not fit beside each other follow below."""
    rows = list(dict.fromkeys(row for line in listed for row in line.accuracy.get(dataset, {})))
    at_once = (WIDTH - NAME_WIDTH) // CELL_WIDTH
    for first in range(0, len(rows), at_once):
        shown = rows[first : first + at_once]
        heads = [head(row) for row in shown]
        if any(len(words) > 1 for words in heads):
            yield " " * NAME_WIDTH + "".join(f"{words[0] if words[1:] else '':>{CELL_WIDTH}}" for words in heads)
        yield f"{dataset + ', %':{NAME_WIDTH}}" + "".join(f"{words[-1]:>{CELL_WIDTH}}" for words in heads)
        for line in listed:
            if dataset in line.accuracy:
                accuracies = [line.accuracy[dataset].get(row) for row in shown]
                yield from experiment(line, accuracies, changes=first == 0)
        for seeds in repeated(listed, dataset):
            yield from over_seeds(seeds, dataset, shown)


def head(row: str) -> list[str]:
    """The name of a row, in two parts where it is too long for one."""
    if row.endswith("-finetuned"):
        return [row.removesuffix("-finetuned") + ",", "fine-tuned"]
    before, dash, behind = row.partition("_")
    return [before + dash, behind] if len(row) >= CELL_WIDTH and dash else [row]


def over_seeds(seeds: Sequence[Line], dataset: str, rows: Sequence[str]) -> Iterator[str]:
    """Mean, interval and spread of each row that all of the experiments have."""
    known = [all(row in line.accuracy[dataset] for line in seeds) for row in rows]
    found = [pooled(seeds, dataset, row) if there else None for row, there in zip(rows, known, strict=True)]
    means = (f"{100 * each[0]:.1f} ± {100 * each[2]:.1f}" if each else "–" for each in found)
    spreads = (f"{100 * each[1]:.1f}" if each else "–" for each in found)
    yield f"{f'{len(seeds)} seeds, ± of 95 %':{NAME_WIDTH}}" + "".join(f"{cell:>{CELL_WIDTH}}" for cell in means)
    yield f"{'  spread over seeds':{NAME_WIDTH}}" + "".join(f"{cell:>{CELL_WIDTH}}" for cell in spreads)
    names = "of " + " ".join(line.name for line in seeds)
    yield from wrap(names, WIDTH, initial_indent="    ", subsequent_indent="    ")


def experiment(line: Line, accuracies: Sequence[float | None], *, changes: bool) -> Iterator[str]:
    """The name and accuracies of an experiment, and below them what was changed, unless that stands above already."""
    cells = (f"{100 * value:{CELL_WIDTH}.1f}" if value is not None else f"{'–':>{CELL_WIDTH}}" for value in accuracies)
    yield f"{line.name:{NAME_WIDTH}}" + "".join(cells)
    if not changes:
        return
    changed = " ".join(f"{name}={''.join(value.split())}" for name, value in sorted_changes(line))
    yield from wrap(changed, WIDTH, initial_indent="    ", subsequent_indent="    ")


def sorted_changes(line: Line) -> list[tuple[str, str]]:
    """What was changed, the random seed last."""
    return sorted(line.changed.items(), key=lambda change: change[0] == SEED)
