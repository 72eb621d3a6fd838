"""What a file of runs/ asks DVC for: its experiments with their whole params.yaml, without running any of them."""

import shutil
import subprocess
from argparse import Namespace
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.cli.parser import get_main_parser
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import get_hydra_sweeps, to_hydra_overrides

from exemplar.params.load import load_yaml

ROOT = Path(__file__).parents[1]
# It stands where the set-up puts the real one, and writes down what it is asked for: an empty argument ends a call.
# What `get` would fetch is an empty file.
RECORDER = """#!/bin/sh
printf "%s\\0" "$@" "" >> "$(dirname -- "$0")/calls"
if [ "$1" = get ]; then
  for last; do :; done
  mkdir -p "$(dirname -- "$last")"
  : > "$last"
fi
"""
# `python -m benchmarks.stages ... dvc ...` calls it as the real one does.
MEASURER = """#!/bin/sh
until [ "$1" = dvc ]; do shift; done
exec "$@"
"""


@dataclass
class Asked:
    """An experiment that a file asks for: its name, its params.yaml, and whether it waits in the queue."""

    name: str
    numbers: dict[str, Any]
    queued: bool

    def at(self, key: str) -> Any:  # noqa: ANN401  # whatever YAML holds
        """A number by its dotted name."""
        found = self.numbers
        for part in key.split("."):
            found = found[part]
        return found


class Runs:
    """A copy of runs/ in an empty folder, in which `dvc` only writes down its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / ".venv/bin/calls"
        shutil.copytree(ROOT / "runs", folder / "runs")
        self.calls.parent.mkdir(parents=True)
        for program, text in (("dvc", RECORDER), ("python", MEASURER)):
            (self.calls.parent / program).write_text(text)
            (self.calls.parent / program).chmod(0o755)

    def record(self, name: str, *extra: str) -> list[list[str]]:
        """Run a file from another folder and return the arguments of each call of `dvc`."""
        self.calls.unlink(missing_ok=True)
        subprocess.run([self.folder / "runs" / f"{name}.sh", *extra], cwd="/", check=True)
        return [call.split("\0") for call in self.calls.read_text().removesuffix("\0\0").split("\0\0")]

    def ask(self, name: str, *extra: str) -> list[Asked]:
        """The experiments that DVC would make of them."""
        calls = [call for call in self.record(name, *extra) if call[:2] == ["exp", "run"]]
        return [each for call in calls for each in understood(get_main_parser().parse_args(call))]


def understood(arguments: Namespace) -> list[Asked]:
    """The experiments of one `dvc exp run`, several where it sweeps; a key that params.yaml lacks is a KeyError."""
    sweeps = get_hydra_sweeps(to_path_overrides(arguments.set_param))
    found = []
    for place, sweep in enumerate(sweeps):
        numbers = deepcopy(load_yaml(ROOT / "params.yaml"))
        assert set(sweep) == {"params.yaml"}
        for override in to_hydra_overrides(sweep["params.yaml"]):
            *sections, last = override.key_or_group.split(".")
            section = numbers
            for part in sections:
                section = section[part]
            if last not in section:
                raise KeyError(f"params.yaml has no {override.key_or_group}")
            section[last] = override.value()
        # As DVC names the experiments of a sweep.
        found.append(Asked(arguments.name + (f"-{place + 1}" if len(sweeps) > 1 else ""), numbers, arguments.queue))
    return found
