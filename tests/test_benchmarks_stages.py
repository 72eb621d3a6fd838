"""What each stage of a DVC command costs, by what the command prints and what its processes take."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import stages

# A command that prints as DVC does and starts its stages as it does. The second takes 0.2 GB, half a second of a core.
WORK = """
import time
taken = bytearray(200_000_000)
end = time.process_time() + 0.5
while time.process_time() < end:
    pass
"""
COMMAND = f"""
import subprocess, sys
print("Running stage 'seeds':", flush=True)
subprocess.run([sys.executable, "-c", "pass"], check=True)
print("Running stage 'train@exemplar':", flush=True)
subprocess.run([sys.executable, "-c", {WORK!r}], check=True)
sys.exit(3)
"""


@pytest.fixture(scope="module")
def measured() -> tuple[int, list[stages.Cost]]:
    """The status and the costs of that command."""
    return stages.run([sys.executable, "-c", COMMAND])


def test_each_stage_has_its_own_time_and_memory(measured: tuple[int, list[stages.Cost]]):
    """Those of its processes, also of such as have ended, and not those of the stage before."""
    status, (first, second) = measured
    assert status == 3
    assert (first.stage, second.stage) == ("seeds", "train@exemplar")
    assert second.seconds > 0.5
    assert second.cpu_seconds >= 0.5 > first.cpu_seconds
    assert second.memory > 0.2 > first.memory


def test_bytes_of_results_are_those_that_dvc_noted():
    """A stage without a result has 0."""
    lock = {"stages": {"seeds": {"outs": [{"size": 1_500_000}, {"size": 500_000}]}, "check": {}}}
    assert stages.sizes(lock) == {"seeds": 2_000_000, "check": 0}


def test_a_table_has_one_command_or_two(tmp_path: Path):
    """Figures that were kept stand beside those of now; those of stages that a later command does not run stay."""
    few = [stages.Cost("check", 1.0, 0.5, 0.1), stages.Cost("seeds", 2.4, 3.0, 0.25, 2_000_000)]
    stages.save([few[0], replace(few[1], seconds=9.0)], tmp_path / "new" / "few.json")
    stages.save(few[1:], tmp_path / "new" / "few.json")
    assert stages.load(tmp_path / "new" / "few.json") == few
    assert list(stages.lines(few))[2:] == ["| check | 1 | 0 | 0.10 | 0.0 |", "| seeds | 2 | 3 | 0.25 | 2.0 |"]
    many = [stages.Cost("seeds", 1234.4, 2000.0, 0.5, 40_000_000)]
    head, _, *rows = stages.lines(many, few)
    assert head.startswith("| stage | seconds: earlier | now | seconds of processors: earlier | now |")
    assert rows == [
        "| check | 1 | – | 0 | – | 0.10 | – | 0.0 | – |",
        "| seeds | 2 | 1,234 | 3 | 2,000 | 0.25 | 0.50 | 2.0 | 40.0 |",
    ]


def test_a_file_to_compare_with_is_read_before_anything_runs(tmp_path: Path):
    """One line; the command is not started."""
    words = [sys.executable, "-m", "benchmarks.stages", "--beside", tmp_path / "no.json", "touch", tmp_path / "ran"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert ended.stderr.startswith(f"error: cannot read {tmp_path / 'no.json'} (")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_without_a_command_it_says_what_it_wants():
    """One line."""
    words = [sys.executable, "-m", "benchmarks.stages"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert ended.returncode == 1
    assert ended.stderr == "error: expected a command of DVC's: python -m benchmarks.stages dvc repro\n"
