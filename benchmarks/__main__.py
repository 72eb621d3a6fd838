"""`python -m benchmarks [NAME ...]` measures groups of rows, each a file of this folder, and writes the table.

All groups at full size write results.json and table.md anew; named groups replace their own rows in them. Both are
written after every row, and a row that fails is told and does not stop the others. A quick look (`--quick`) only shows
that everything runs: its numbers mean nothing and are not kept. `gpu` is a program of its own with its own `--help`.
"""

import argparse
import io
import json
import sys
from contextlib import redirect_stderr
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks import table
from benchmarks.gpu import program
from benchmarks.measure import Row, Rows, first_line
from exemplar.io.atomic import replacing
from exemplar.runtime import device

GROUPS = ("rendering", "training", "tasks", "processes", "features", "probe", "seeds", "tracking", "startup", "million")
FOLDER = Path(__file__).parent


def main() -> None:
    """Measure, print every row when it is there, write."""
    if sys.argv[1:2] == ["gpu"]:
        program.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=first_line(__doc__))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"groups of rows: {', '.join(GROUPS)}; all by default")
    parser.add_argument("--repeats", type=int, default=5, help="how often every side runs (5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs; nothing is kept")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(GROUPS):
        parser.error(f"no rows are called {', '.join(sorted(unknown))}; expected some of {', '.join(GROUPS)}")
    device.cap_threads()
    conditions = table.conditions(asked.repeats)
    print(conditions, flush=True)
    for name in table.HEAD:
        print(name, flush=True)
    found: list[Row] = []
    lacking: list[str] = []
    for name in asked.names or GROUPS:
        for row in measure(name, lacking, quick=asked.quick, repeats=asked.repeats):
            print(table.line(row), flush=True)
            found.append(row)
            if not asked.quick:
                save(found, conditions, anew=not asked.names, folder=FOLDER)
    for reason in lacking:
        print(f"error: {reason}", file=sys.stderr)
    sys.exit(bool(lacking))


def measure(name: str, lacking: list[str], *, quick: bool, repeats: int) -> Rows:
    """The rows of a group; what keeps one of them from being measured is added to `lacking`, and the next follows."""
    group = import_module(f"benchmarks.{name}")
    for work in group.works(quick=quick, repeats=repeats):
        rows: list[Row] = []
        try:
            with redirect_stderr(io.StringIO()):  # the library's progress
                for row in work():
                    rows.append(row)  # noqa: PERF402  # so that those before a failure are kept
        except Exception as error:  # a peer of any version may fail in any way
            lacking.append(f"{name}: {type(error).__name__}: {error}; a row is missing")
            print(lacking[-1], flush=True)
        yield from rows


def save(found: list[Row], conditions: str, *, anew: bool, folder: Path) -> None:
    """Write results.json and table.md; rows that are there stay unless they were measured again, or all are anew."""
    results, place = folder / "results.json", folder / "table.md"
    before = json.loads(results.read_text("utf-8")) if results.exists() and not anew else []
    names = {row.name for row in found}
    entries = [entry for entry in before if entry["name"] not in names]
    entries += [{**asdict(row), "conditions": conditions} for row in found]
    with replacing(results) as temporary:
        temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    with replacing(place) as temporary:
        temporary.write_text("\n".join(table.tables(entries)), encoding="utf-8")


if __name__ == "__main__":
    main()
