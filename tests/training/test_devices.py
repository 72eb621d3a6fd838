"""A step of training stays on its GPU and waits for nothing: seen without one, on stand-ins for its tensors."""

import json
import subprocess
import sys

import pytest
from imports import ROOT
from torch.utils import backend_registration

from exemplar.params.names import names_in

TASKS = names_in("methods", having=r"^def draw\(")
pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch lets Python name no device",
)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, list[str]]]:
    """What the program says."""
    finished = subprocess.run(
        [sys.executable, "tests/training/stand_ins.py"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "EXEMPLAR_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    answer: dict[str, dict[str, list[str]]] = json.loads(finished.stdout)
    return answer


def test_nothing_of_a_step_takes_place_on_the_host(found: dict[str, dict[str, list[str]]]):
    """Order, rendering, forward and backward pass, optimizer and the epoch's sums read no number and copy none.

    So do features. Both recipes, with all classes and with drawn ones, also while classes start; every pretext task.
    """
    recipes = [f"{recipe}{more}" for recipe in ("release", "fast") for more in ("", ", negatives")]
    assert found["steps"] == {name: [] for name in (*recipes, *TASKS, "features")}


def test_what_takes_place_on_the_host_is_seen(found: dict[str, dict[str, list[str]]]):
    """Numbers that are read, copies in both directions, and mixtures of devices, each by its operation or its error."""
    assert {name: operations[-1].split(":")[0] for name, operations in found["seen"].items()} == {
        "a number that is read": "DataDependentOutputException",
        "rows that a mask chooses": "DynamicOutputShapeException",
        "a list that becomes a tensor": "aten._to_copy.default",
        "a range that is made on the host": "aten._to_copy.default",
        "a mixture of devices": "FakeTensorDeviceMismatchError",
        "a copy to the host": "aten._to_copy.default",
    }
