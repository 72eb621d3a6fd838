"""Runs whose process is killed without a chance to say so."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exemplar.tracking import runs, store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# mlflow's own, which it hides itself outside of pytest
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)
DIES = """
import os, signal, sys
from pathlib import Path
from exemplar import tracking
with tracking.run(stage="train", name="dies", parameters={}, inputs=[], marker=Path(sys.argv[1])) as run:
    run.log_metrics({"loss": 3.0}, step=1)
    run.log_metrics({"loss": 2.0}, step=2)
    run.send()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """Somebody who looks into the store of a fresh repository."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return store.connect(store.address())[0]


@pytest.fixture
def marker(client: "MlflowClient", tmp_path: Path) -> Path:
    """The file that names the run of a process that is killed in its third epoch."""
    path = tmp_path / "unfinished"
    killed = subprocess.run([sys.executable, "-c", DIES, str(path)], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert run_of(client, path).info.status == "RUNNING"
    return path


def run_of(client: "MlflowClient", marker: Path) -> "Run":
    """The only run of the work that a marker names."""
    (experiment,) = client.search_experiments(filter_string=f"name = '{store.EXPERIMENT}'")
    (found,) = client.search_runs([experiment.experiment_id], f"tags.work = '{marker.read_text()}'")
    return found


def test_a_killed_run_goes_on_where_it_stopped(client: "MlflowClient", marker: Path) -> None:
    """The same run ends as FINISHED, and holds every epoch once although the first two are told again."""
    with runs.run(stage="train", name="dies", parameters={}, inputs=[], marker=marker) as run:
        for epoch, loss in enumerate((3.0, 2.0, 1.0), 1):
            run.log_metrics({"loss": loss}, step=epoch)
    assert run.id == run_of(client, marker).info.run_id
    found = client.get_run(run.id)
    assert (found.info.status, found.data.tags["resumed"]) == ("FINISHED", "true")
    assert "reason" not in found.data.tags
    assert [(point.step, point.value) for point in client.get_metric_history(run.id, "loss")] == [
        (1, 3),
        (2, 2),
        (3, 1),
    ]


def test_a_killed_run_that_nobody_goes_on_with_is_closed_by_the_next(client: "MlflowClient", marker: Path) -> None:
    """Whatever run comes next marks it KILLED with the reason, and leaves runs whose process lives alone."""
    with runs.run(stage="seeds", name="lives", parameters={}, inputs=[]) as living:
        store.close_orphans(client, living.experiment)
        assert client.get_run(living.id).info.status == "RUNNING"
    dead = run_of(client, marker)
    assert (dead.info.status, dead.data.tags["reason"]) == ("KILLED", store.ORPHANED)


def test_a_run_that_was_deleted_is_not_gone_on_with(client: "MlflowClient", marker: Path) -> None:
    """Then, and in another store, the work gets a new run."""
    old = run_of(client, marker).info.run_id
    client.delete_run(old)
    with runs.run(stage="train", name="anew", parameters={}, inputs=[], marker=marker) as run:
        assert run.id == run_of(client, marker).info.run_id != old


def test_a_run_is_known_however_soon_its_process_dies(client: "MlflowClient", tmp_path: Path) -> None:
    """Its work has a name before the store has the run; a marker that somebody broke begins another work."""
    marker = tmp_path / "unfinished"
    work = store.work_of(marker)
    assert store.work_of(marker) == work
    experiment = client.search_experiments(filter_string=f"name = '{store.EXPERIMENT}'")[0].experiment_id
    made = client.create_run(experiment, tags={store.WORK_TAG: work}).info.run_id
    with runs.run(stage="train", name="goes on", parameters={}, inputs=[], marker=marker) as run:
        assert run.id == made
    marker.write_text("' or 1 = 1")
    assert store.work_of(marker) not in (work, "' or 1 = 1")


def test_a_process_is_known_by_host_number_and_start() -> None:
    """A later process with the same number is another one, and of another host nothing is known."""
    host, number, start = store.owner().rsplit(" ", 2)
    assert not store.is_gone(store.owner())
    assert store.is_gone(f"{host} {number} {float(start) - 60}")
    assert store.is_gone(f"{host} 4194305 {start}")
    assert not store.is_gone(f"elsewhere {number} 0")
