"""What each stage of a DVC command costs, by what the command prints and what its processes take."""

import subprocess
import sys
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


def test_the_table_has_what_dvc_noted_of_results():
    """A stage without a result has 0."""
    lock = {"stages": {"seeds": {"outs": [{"size": 1_500_000}, {"size": 500_000}]}, "check": {}}}
    costs = [stages.Cost("check", 1.0, 0.5, 0.1), stages.Cost("seeds", 1234.4, 2000.0, 0.25)]
    assert list(stages.lines(costs, stages.sizes(lock))) == [
        stages.HEAD,
        "| check | 1 | 0 | 0.10 | 0.0 |",
        "| seeds | 1,234 | 2,000 | 0.25 | 2.0 |",
    ]


def test_without_a_command_it_says_what_it_wants():
    """One line."""
    words = [sys.executable, "-m", "benchmarks.stages"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert ended.returncode == 1
    assert ended.stderr == "error: expected a command of DVC's: python -m benchmarks.stages dvc repro\n"
