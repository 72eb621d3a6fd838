"""All experiments of a repository as one table: their names, what was changed, and the accuracy of every row."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from textwrap import wrap
from typing import Any

import pandas as pd

from exemplar.errors import UserError
from exemplar.io import provenance
from exemplar.report.published import ACCURACY, SEED

WIDTH, NAME_WIDTH, CELL_WIDTH = 100, 22, 12
METRIC = (".accuracy", ".std", ".margin", ".knn_accuracy")
DESCRIBING = ("Experiment", "rev", "typ", "Created", "parent", "State", "Executor")


@dataclass(frozen=True)
class Line:
    """An experiment: what differs from the commit that it began at, and accuracies by dataset and row, 0 to 1."""

    name: str
    changed: dict[str, str]
    accuracy: dict[str, dict[str, float]]


def baselines() -> list[str]:
    """The commits that experiments began at; DVC keeps each experiment under refs/exps and the id of its commit."""
    refs = provenance.git("for-each-ref", "--format=%(refname)", "refs/exps").decode().split()
    parts = (ref.split("/") for ref in refs)
    return sorted({"".join(part[2:4]) for part in parts if len(part) == 5 and len(part[2]) == 2})


def show() -> str:
    """What `dvc exp show --csv` prints of the workspace and of all experiments, leaving out the many other commits.

    Raises UserError with DVC's own words where it fails.
    """
    revisions = [word for commit in ("HEAD", *baselines()) for word in ("--rev", commit)]
    command = [sys.executable, "-m", "dvc", "exp", "show", "--csv", "--hide-queued", "--hide-failed", *revisions]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise UserError(f"dvc exp show failed ({error.stderr.strip()[-500:]}); run it in the repository") from None


def read(shown: str) -> list[Line]:
    """The workspace and the experiments that have an accuracy; raises UserError for a text that is no such table."""
    try:
        table = pd.read_csv(StringIO(shown), dtype=str, keep_default_na=False)
    except ValueError:
        table = pd.DataFrame()
    if not {"Experiment", "rev", "typ"} <= set(table):
        raise UserError(f"{shown[:60]!r} is no table of experiments; expected what `dvc exp show --csv` prints")
    return list(lines(table))


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
        accuracy = accuracies(row)
        changed = {name: row[name] for name in settings if beginning and row[name] != beginning[name]}
        if accuracy:
            yield Line(row["Experiment"] or row["rev"], changed, accuracy)


def accuracies(row: dict[str, str]) -> dict[str, dict[str, float]]:
    """The accuracies of an experiment by dataset and row."""
    found: dict[str, dict[str, float]] = {}
    for name, cell in row.items():
        if (match := ACCURACY.fullmatch(name)) and (value := pd.to_numeric(cell, errors="coerce")) == value:
            found.setdefault(match[1], {})[match[2]] = float(value)
    return found


def as_json(listed: Iterable[Line]) -> list[dict[str, Any]]:
    """The experiments for programs."""
    return [asdict(line) for line in listed]


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
        heads = [row.replace("-finetuned", ",\nfine-tuned").split("\n") for row in shown]
        if any(len(head) > 1 for head in heads):
            yield " " * NAME_WIDTH + "".join(f"{head[0] if len(head) > 1 else '':>{CELL_WIDTH}}" for head in heads)
        yield f"{dataset + ', %':{NAME_WIDTH}}" + "".join(f"{head[-1]:>{CELL_WIDTH}}" for head in heads)
        for line in listed:
            if dataset in line.accuracy:
                yield from experiment(line, [line.accuracy[dataset].get(row) for row in shown])


def experiment(line: Line, accuracies: Sequence[float | None]) -> Iterator[str]:
    """The name and accuracies of an experiment, and below them what was changed."""
    cells = (f"{100 * value:{CELL_WIDTH}.1f}" if value is not None else f"{'–':>{CELL_WIDTH}}" for value in accuracies)
    yield f"{line.name:{NAME_WIDTH}}" + "".join(cells)
    changed = " ".join(f"{name}={''.join(value.split())}" for name, value in sorted_changes(line))
    yield from wrap(changed, WIDTH, initial_indent="    ", subsequent_indent="    ")


def sorted_changes(line: Line) -> list[tuple[str, str]]:
    """What was changed, the random seed last."""
    return sorted(line.changed.items(), key=lambda change: change[0] == SEED)
