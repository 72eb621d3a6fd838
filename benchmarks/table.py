"""The table of the benchmark and the words around it."""

import os
import platform
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Row

PACKAGES = ("torch", "numpy", "scikit-learn", "scikit-image", "kornia", "lightly", "liblinear-multicore", "mlflow")
HEAD = (
    "| what | ours | peer | ratio | target | unit | lowest to highest | reached |",
    "|---|---|---|---|---|---|---|---|",
)


def conditions(repeats: int) -> str:
    """Date, machine, threads, versions and load, without which no number means anything."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    found = [f"{name} {known}" for name in PACKAGES if (known := installed(name))]
    return (
        f"{date.today().isoformat()}: median of {repeats} runs of each side, in turn; {processor()}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load} at the start; "
        f"Python {platform.python_version()}, {', '.join(found)}."
    )


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def installed(name: str) -> str | None:
    """A package's version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def number(value: float | None) -> str:
    """Three digits that matter, and a dash for what is not there."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def line(row: Row) -> str:
    """A row as a line of Markdown."""
    target = f"≥ {number(row.target)} x" if row.ratio is not None else f"≤ {number(row.target)} {row.unit}"
    cells = [row.name, number(row.ours), number(row.theirs), number(row.ratio), target, row.unit]
    spread = " to ".join(map(number, row.spread))
    return f"| {' | '.join(cells)} | {spread} | {'yes' if row.reached else 'no'} |"


def row(entry: dict[str, Any]) -> Row:
    """A row as it was saved."""
    known = {field.name: entry[field.name] for field in fields(Row)}
    return Row(**{**known, "spread": tuple(entry["spread"])})


def tables(entries: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of all rows that were saved, those of one run of the program under its conditions."""
    for conditions, group in groupby(entries, itemgetter("conditions")):
        yield from (conditions, "", *HEAD, *map(line, map(row, group)), "")
