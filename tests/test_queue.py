"""DVC experiments and MLflow runs find each other, however the experiments are started."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exemplar.tracking import runs

if TYPE_CHECKING:
    from mlflow.entities import Run

CHECKOUT = Path(runs.__file__).parents[2]
QUEUED, WORKERS = 8, 4
SECONDS_TO_WAIT = 480
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # mlflow's own

STAGE = """
import json
from pathlib import Path
from exemplar.tracking import runs

number = int(Path("params.yaml").read_text().split()[1])
read = [Path("data.txt")]
with runs.run(stage="compare", name=f"number {number}", parameters={"number": number}, inputs=read) as run:
    run.log_metrics({"square": number**2})
    run.log_file(Path("data.txt"))
Path("metrics.json").write_text(json.dumps({"square": number**2, "mlflow_run": run.id}))
"""

PIPELINE = f"""
stages:
  download:
    cmd: echo some data > data.txt
    outs: [data.txt]
  compare:
    cmd: {sys.executable} stage.py
    deps: [stage.py, data.txt]
    params: [number]
    metrics: [{{metrics.json: {{cache: false}}}}]
"""


def command(*words: str) -> str:
    """Run a program in the working directory and return what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def dvc(*words: str) -> str:
    """Run one of DVC's commands."""
    return command(sys.executable, "-m", "dvc", *words)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone of a repository with a pipeline of one run; no store yet, and the working directory is there."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "nobody@localhost")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # a worker is started as `dvc`
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    origin = tmp_path / "origin"
    origin.mkdir()
    monkeypatch.chdir(origin)
    for name, text in {"stage.py": STAGE, "dvc.yaml": PIPELINE, "params.yaml": "number: 0\n"}.items():
        (origin / name).write_text(text)
    (origin / ".gitignore").write_text("mlflow.db*\nmlartifacts\n/data.txt\n")
    command("git", "init", "-q")
    dvc("init", "-q")
    command("git", "add", ".")
    command("git", "commit", "-qm", "a pipeline")
    command("git", "clone", "-q", str(origin), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path / "clone"


def wait_for_the_queue() -> None:
    """Until nothing waits or runs there."""
    end = time.monotonic() + SECONDS_TO_WAIT
    while {"Queued", "Running"} & set((status := dvc("queue", "status")).split()):
        assert time.monotonic() < end, status
        time.sleep(5)  # a look costs two seconds, which the workers want


def stored_runs(clone: Path) -> "dict[int, Run]":
    """All runs in the clone's own store, by their number; a number that has two runs fails."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{clone}/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    found = {int(run.data.params["number"]): run for run in runs}
    assert len(found) == len(runs)
    return found


def shown_runs() -> dict[str, str]:
    """What `dvc exp show` says: the id of the MLflow run by the experiment's name."""
    (baseline,) = (revision for revision in json.loads(dvc("exp", "show", "--json")) if revision["rev"] != "workspace")
    experiments = [experiment["revs"][0] for experiment in baseline["experiments"]]
    return {each["name"]: each["data"]["metrics"]["metrics.json"]["data"]["mlflow_run"] for each in experiments}


@pytest.mark.timeout(600)
def test_no_experiment_loses_its_run(clone: Path) -> None:
    """Eight queued experiments on four workers, one in a temporary clone and one in the workspace, on a fresh store.

    Each has one finished run, in the store of the repository where the user is, with its files; the run names its
    experiment, and `dvc exp show` names the run.
    """
    dvc("exp", "run", "--queue", "-S", f"number={','.join(map(str, range(1, QUEUED + 1)))}")
    dvc("queue", "start", "-j", str(WORKERS))
    wait_for_the_queue()
    dvc("exp", "run", "--temp", "-S", f"number={QUEUED + 1}")
    dvc("exp", "run", "-S", f"number={QUEUED + 2}")
    runs = stored_runs(clone)
    assert sorted(runs) == list(range(1, QUEUED + 3))
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {run.data.tags["dvc.exp_name"]: run.info.run_id for run in runs.values()} == shown_runs()
    commit = command("git", "rev-parse", "HEAD").strip()
    md5 = hashlib.md5(b"some data\n").hexdigest()
    for number, run in runs.items():
        expected = {"dvc.stage": "compare", "dvc.baseline_rev": commit, "mlflow.source.git.commit": commit}
        assert run.data.tags.items() >= (expected | {"git.dirty": "false", "md5.data.txt": md5}).items()
        assert "params.yaml" in run.data.tags["git.changed"]
        assert run.data.metrics == {"square": number**2}
        assert (clone / "mlartifacts" / run.info.run_id / "artifacts" / "data.txt").read_text() == "some data\n"
        assert f"+number: {number}" in (clone / "mlartifacts" / run.info.run_id / "artifacts" / "git.diff").read_text()
