"""The store, as it is opened."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exemplar.tracking import runs, store

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # mlflow's own


def make_run(folder: Path) -> str:
    """A run with one file; its id."""
    file = folder / "curve.csv"
    file.write_text("epoch,loss\n")
    with runs.run(stage="train", name="exemplar", parameters={}, inputs=[]) as run:
        run.log_file(file)
    return run.id


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's repository."""
    folder = tmp_path / "a repository"
    folder.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(folder))
    for name in ("MLFLOW_TRACKING_URI", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_a_moved_repository_finds_its_artifacts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old runs and models are read, and new runs written, where the repository is now; nothing at the old place."""
    old = make_run(repository)
    client, experiment = store.connect(store.address())
    model = client.create_logged_model(experiment, name="encoder").model_id
    moved = repository.rename(repository.with_name("moved"))
    monkeypatch.setenv("DVC_ROOT", str(moved))

    new = make_run(moved)

    client, _ = store.connect(store.address())
    artifacts = (moved / "mlartifacts").as_uri()
    for run in (old, new):
        assert client.get_run(run).info.artifact_uri == f"{artifacts}/{run}/artifacts"
        assert "curve.csv" in [file.path for file in client.list_artifacts(run)]
    assert client.get_logged_model(model).artifact_location == f"{artifacts}/models/{model}/artifacts"
    assert not repository.exists()


def test_a_store_elsewhere_keeps_its_addresses(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that several repositories share is not one repository's to change."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{repository.with_name('shared.db')}")
    make_run(repository)
    other = repository.with_name("another")
    (other / "mlartifacts").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(other))
    client, experiment = store.connect(store.address())
    assert client.get_experiment(experiment).artifact_location == (repository / "mlartifacts").as_uri()


def test_a_kill_while_the_database_is_made_costs_nothing(repository: Path) -> None:
    """MLflow makes its tables in many steps, and never goes on from the middle of them."""
    code = "from exemplar import store; store.connect(store.address())"
    unfinished = repository / "mlflow.db.unfinished"
    for after_bytes in (1, 300_000):
        with subprocess.Popen([sys.executable, "-c", code], cwd=Path(store.__file__).parents[2]) as process:
            while not unfinished.exists() or unfinished.stat().st_size < after_bytes:
                assert process.poll() is None
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        assert not (repository / "mlflow.db").exists()
    run = make_run(repository)
    assert store.connect(store.address())[0].get_run(run).info.status == "FINISHED"
    assert not unfinished.exists()
