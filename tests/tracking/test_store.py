"""The store, as it is opened, and runs whose process is killed without a chance to say so."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from exemplar.errors import UserError
from exemplar.tracking import owners, runs, store

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
from exemplar.tracking import runs
with runs.run(stage="train", name="dies", parameters={}, inputs=[], marker=Path(sys.argv[1])) as run:
    run.log_metrics({"loss": 3.0}, step=1)
    run.log_metrics({"loss": 2.0}, step=2)
    run.send()
    os.kill(os.getpid(), signal.SIGKILL)
"""


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
    """A database that several repositories share is not one repository's to change, and its artifacts lie beside it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{repository.with_name('shared.db')}")
    make_run(repository)
    other = repository.with_name("another")
    (other / "mlartifacts").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(other))
    client, experiment = store.connect(store.address())
    assert client.get_experiment(experiment).artifact_location == repository.with_name("mlartifacts").as_uri()


def test_a_kill_while_the_database_is_made_costs_nothing(repository: Path) -> None:
    """MLflow makes its tables in many steps, and never goes on from the middle of them."""
    code = "from exemplar.tracking import store; store.connect(store.address())"
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


def test_a_link_to_where_no_database_is_yet_leads_there(repository: Path) -> None:
    """The link stays, the database is made where it leads, and its artifacts lie beside it."""
    vault = repository.with_name("vault")
    vault.mkdir()
    (repository / "mlflow.db").symlink_to(vault / "mlflow.db")
    run = make_run(repository)
    assert (repository / "mlflow.db").readlink() == vault / "mlflow.db"
    assert {path.name for path in vault.iterdir()} >= {"mlflow.db", "mlartifacts"}
    assert (vault / "mlartifacts" / run / "artifacts" / "curve.csv").exists()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR])
def test_a_pipe_or_a_device_is_no_place_for_a_database(repository: Path, kind: int) -> None:
    """It is named, and stays."""
    place = repository / "mlflow.db"
    try:
        os.mknod(place, kind | 0o600, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("making a device needs more rights")
    with pytest.raises(UserError, match=r"mlflow\.db is no file; expected a database of MLflow"):
        make_run(repository)
    assert stat.S_IFMT(place.stat().st_mode) == kind


def test_a_run_of_a_repository_that_git_does_not_read_says_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line with git's own remedy, and a tag where the commit would stand."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    tags = store.connect(store.address())[0].get_run(make_run(repository)).data.tags
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: git does not tell the commit or the changes of this run: fatal: detected dubious")
    assert "git config --global --add safe.directory" in tags["git.unknown"]
    assert "mlflow.source.git.commit" not in tags


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
    (experiment,) = client.search_experiments(filter_string=f"name = '{store.OURS}'")
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
    experiment = client.search_experiments(filter_string=f"name = '{store.OURS}'")[0].experiment_id
    made = client.create_run(experiment, tags={store.WORK_TAG: work}).info.run_id
    with runs.run(stage="train", name="goes on", parameters={}, inputs=[], marker=marker) as run:
        assert run.id == made
    marker.write_text("' or 1 = 1")
    assert store.work_of(marker) not in (work, "' or 1 = 1")


def test_a_process_is_known_by_host_namespace_number_and_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later process with the same number is another one; of another host or container nothing is known."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    host, namespace, number, start, root = owners.owner().split(" ", 4)
    known = {
        owners.owner(): False,
        f"{host} {namespace} {number} {float(start) - 60} {root}": True,
        f"{host} {namespace} 4194305 {start} {root}": True,
        f"elsewhere {namespace} {number} 0.00 {root}": False,
        f"{host} pid:[1] 4194305 0.00 {root}": False,
    }
    assert {tag: owners.is_gone(tag, run_id="0123") for tag in known} == known
    (folder := tmp_path / ".spool" / "0123").mkdir(parents=True)
    (folder / ".00000001.json.7.tmp").write_text("half")
    assert owners.is_gone(f"{host} {namespace} 4194305 {start} {root}", run_id="0123"), "a kill left half an operation"
    (folder / "00000001.json").write_text("{}")
    assert not owners.is_gone(f"{host} {namespace} 4194305 {start} {root}", run_id="0123"), "its end waits there"


def test_a_process_that_ended_unnoticed_is_gone() -> None:
    """Its number stays taken while its parent does not ask for its end, as the first process of many containers."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, owners.owner().encode())
        os._exit(0)
    tag = os.read(reading, 9999).decode()
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert owners.is_gone(tag, run_id="0123")
    os.waitpid(child, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("hidden", [False, True])
def test_a_process_that_may_not_be_seen_is_not_gone(hidden: bool) -> None:
    """With hidepid nobody may look at another user's, or not even see it; his runs are not closed as killed."""
    host, namespace, number, start, root = owners.owner().split(" ", 4)
    with tempfile.TemporaryDirectory() as proc:
        Path(proc).chmod(0o755)
        if not hidden:
            Path(proc, number).mkdir(mode=0)
        if (child := os.fork()) == 0:
            told = 9
            try:
                os.setuid(65_534)
                psutil.PROCFS_PATH = proc
                told = owners.is_gone(f"{host} {namespace} {number} {start} {root}", run_id="0123")
            finally:
                os._exit(told)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_copy_of_a_repository_gets_runs_of_its_own(
    client: "MlflowClient", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of unfinished works are copied too, and both may tell one store; a repository that moved goes on."""
    experiment = client.search_experiments(filter_string=f"name = '{store.OURS}'")[0].experiment_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.address())
    marker, copy = tmp_path / "run", tmp_path / "copy"
    work = store.work_of(marker)
    with runs.run(stage="train", name="first", parameters={}, inputs=[], marker=marker) as first:
        copy.mkdir()
        monkeypatch.setenv("DVC_ROOT", str(copy))
        with runs.run(stage="train", name="second", parameters={}, inputs=[], marker=marker) as second:
            assert second.id != first.id
        assert store.reopened(client, experiment, work) == second.id
        monkeypatch.setenv("DVC_ROOT", str(tmp_path))
        assert store.reopened(client, experiment, work) == first.id
    copy.rename(tmp_path / "moved")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "moved"))
    assert store.reopened(client, experiment, work) == second.id


@pytest.mark.parametrize(
    "tag", ["", "x", "<this host> abc def", "{host} {number} x", "{host} {namespace} 1 1e400 /", "9" * 5000]
)
def test_a_tag_that_is_not_ours_stops_nothing(client: "MlflowClient", tag: str) -> None:
    """Whoever may write to the server can give any run any tag; such a run stays as it is."""
    experiment = client.search_experiments(filter_string=f"name = '{store.OURS}'")[0].experiment_id
    host, namespace, number, *_ = owners.owner().split(" ")
    tag = tag.format(host=host, namespace=namespace, number=number)
    foreign = client.create_run(experiment, tags={owners.TAG: tag}).info.run_id
    with runs.run(stage="train", name="ours", parameters={}, inputs=[]):
        pass
    assert client.get_run(foreign).info.status == "RUNNING"
    assert store.census() == (2, 0)
