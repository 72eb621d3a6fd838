"""What MLflow holds after a run, and what becomes of the work when MLflow fails."""

import ast
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.network import Encoder
from exemplar.models.saved import save_encoder
from exemplar.tracking import runs, serving, store

if TYPE_CHECKING:
    from mlflow import MlflowClient

PACKAGE = Path(runs.__file__).parents[1]
NOT_ASKED_FOR = {"ruamel", "mlflow"}  # a served encoder stands in no repository, and MLflow serves it
# mlflow's own, which it hides itself outside of pytest
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's repository, under a name that a URL must quote."""
    return tmp_path_factory.mktemp("a user's répository")


@pytest.fixture(autouse=True)
def environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC names the repository, and nobody names a store."""
    monkeypatch.setenv("DVC_ROOT", str(root))
    for name in ("MLFLOW_TRACKING_URI", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(environment: None) -> "MlflowClient":
    """Somebody who looks into the default store."""
    return store.connect(store.address())[0]


def begin(**parameters: object) -> AbstractContextManager[runs.Run]:
    """A run whose name and stage do not matter."""
    return runs.run(stage="train", name="exemplar 64c5-128f", parameters=parameters, inputs=[])


def test_a_run_holds_parameters_curves_files_and_origin(client: "MlflowClient", root: Path, tmp_path: Path) -> None:
    """Nested parameters get dotted names, numbers keep their step, artifacts lie in the user's repository."""
    (tmp_path / "curve.svg").write_text("<svg/>")
    with begin(model="64c5-128f", train={"epochs": 3, "rates": [0.01, 0.001]}) as run:
        for epoch in range(3):
            run.log_metrics({"loss": 1 / (epoch + 1), "accuracy": 0.5}, step=epoch)
        run.log_file(tmp_path / "curve.svg", folder="plots")
        run.log_tags({"rests_on": "another run"})
    found = client.get_run(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "exemplar 64c5-128f")
    assert found.data.params == {"model": "64c5-128f", "train.epochs": "3", "train.rates": "[0.01, 0.001]"}
    losses = client.get_metric_history(run.id, "loss")
    assert [(point.step, point.value) for point in losses] == [(0, 1), (1, 0.5), (2, 1 / 3)]
    assert found.data.tags.items() >= {"stage": "train", "rests_on": "another run"}.items()
    assert (root / "mlartifacts" / run.id / "artifacts" / "plots" / "curve.svg").read_text() == "<svg/>"
    assert [experiment.name for experiment in client.search_experiments()] == ["exemplar", "Default"]


def test_more_than_mlflow_takes_at_once_is_sent_in_parts(client: "MlflowClient") -> None:
    """150 parameters, 2,500 numbers, 150 tags and a long value all arrive, the value cut."""
    with begin(**{f"p{index}": "x" * 7000 for index in range(150)}) as run:
        for epoch in range(500):
            run.log_metrics({f"m{index}": epoch for index in range(5)}, step=epoch)
        run.log_tags({f"t{index}": "x" for index in range(150)})
    data = client.get_run(run.id).data
    assert len(data.params) == 150
    assert sum(tag.startswith("t") and tag[1:].isdigit() for tag in data.tags) == 150
    assert {len(value) for value in data.params.values()} == {6000}
    assert len(client.get_metric_history(run.id, "m4")) == 500


def test_a_run_that_raises_is_marked_failed_with_the_reason(client: "MlflowClient") -> None:
    """The reason is one line, without the user part of a URL; the error goes on to the stage."""
    with pytest.raises(UserError, match="no such host"), begin() as run:
        raise UserError("http://user:hunter2@host/x:\n  no such host")
    found = client.get_run(run.id)
    assert (found.info.status, found.data.tags["reason"]) == ("FAILED", "UserError: http://host/x: no such host")


def test_an_interrupted_run_is_marked_killed(client: "MlflowClient") -> None:
    """Ctrl-C and SIGTERM close the run and then end the work; afterwards SIGTERM means what it meant before."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), begin() as run:
        raise KeyboardInterrupt
    with pytest.raises(SystemExit, match="143"), begin() as other:
        signal.raise_signal(signal.SIGTERM)
    found = [client.get_run(each.id) for each in (run, other)]
    assert [each.info.status for each in found] == ["KILLED", "KILLED"]
    assert [each.data.tags["reason"] for each in found] == ["KeyboardInterrupt", "SystemExit: 143"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_relative_sqlite_path_leads_to_the_users_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the clone of a queued run, where DVC would delete it, it must not lie."""
    assert store.address() == f"sqlite:///{root}/mlflow.db"
    for given, meant in {
        "sqlite:///other.db": f"sqlite:///{root}/other.db",
        "sqlite:////somewhere/x.db": "sqlite:////somewhere/x.db",
        "http://host:5000": "http://host:5000",
    }.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
        assert store.address() == meant


def test_a_dead_server_stops_a_run_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, in one line that names the server and no secret."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9 cannot be used .*refused") as caught, begin():
        raise AssertionError("the work must not start")
    assert time.monotonic() - started < 10
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_store_is_a_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no database is told within a moment, where MLflow alone tries ten times."""
    (tmp_path / "broken.db").write_text("no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/broken.db")
    with pytest.raises(UserError, match="not a database"), begin():
        raise AssertionError("the work must not start")


def test_a_store_that_breaks_does_not_stop_the_work(
    client: "MlflowClient",
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not even once it is no database any more; that is told once, on one line."""
    database = Path(shutil.copy(root / "mlflow.db", tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with begin() as run:
        database.write_bytes(b"no database " * 100_000)
        run.log_metrics({"loss": 1.0})
        run.log_tags({"rests_on": "another run"})
    told = capfd.readouterr().err
    assert told.startswith("warning: MLflow did not take all of it, the work goes on: ")
    assert len(told.splitlines()) == 1


SERVE = "import sys; from mlflow.server import app; app.run(port=int(sys.argv[1]))"


@pytest.fixture
def server(client: "MlflowClient") -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """MLflow's server on the loopback device, without the job runner for which `mlflow server` takes 20 seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "_MLFLOW_SERVER_FILE_STORE": store.address()}
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], env=environment, stderr=subprocess.DEVNULL)
    for _ in range(600):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://user:hunter2@127.0.0.1:{port}", process
    process.kill()
    process.wait()


def test_a_server_that_goes_away_does_not_stop_the_work(
    server: tuple[str, "subprocess.Popen[bytes]"],
    client: "MlflowClient",
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is told once, without a secret, and what the server took before is there."""
    uri, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with begin() as run:
        run.log_metrics({"loss": 2.0}, step=0)
        process.kill()
        process.wait()
        run.next_send = 0
        run.log_metrics({"loss": 1.0}, step=1)
        run.log_file(Path(__file__))
    told = capfd.readouterr().err
    assert told.startswith("warning: MLflow did not take all of it, the work goes on: ")
    assert len(told.splitlines()) == 1
    assert "hunter2" not in told
    assert [point.value for point in client.get_metric_history(run.id, "loss")] == [2.0]


LOAD = """
import sys, mlflow.pyfunc, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
import exemplar
assert "artifacts" in exemplar.__file__, exemplar.__file__
np.save("features.npy", model.predict(np.load("images.npy")))
"""


def test_a_logged_encoder_turns_images_into_features_in_any_process(
    client: "MlflowClient", root: Path, tmp_path: Path
) -> None:
    """Loaded outside of the checkout, with the code that travels in the model, it gives the same features."""
    save_encoder(Encoder(parse("4c5-8f"), mean=torch.zeros(3, 32, 32)), tmp_path / "encoder.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 48), np.uint8)
    np.save(tmp_path / "images.npy", images)
    with begin() as run:
        run.log_encoder(tmp_path / "encoder.safetensors", example=images, name="exemplar-net", ranked_on="photos")
    (logged,) = client.search_logged_models([run.experiment], filter_string=f"source_run_id = '{run.id}'")
    place = root / "mlartifacts" / "models" / logged.model_id / "artifacts"
    assert logged.status == "READY"
    assert not list((place / "code").rglob("*.safetensors"))  # the encoder that comes with the package stays behind
    assert not list(place.rglob("*.pkl"))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", LOAD, str(place)], cwd=tmp_path, env=environment, check=True)
    here = serving._load_pyfunc(tmp_path / "encoder.safetensors").predict(images)
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), here)


def third_party_imports(module: str, seen: set[str]) -> set[str]:
    """The names of all packages that a module of ours needs, directly or through others of ours."""
    if module in seen:
        return set()
    seen.add(module)
    path = PACKAGE.parent / Path(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names = {str(node.module) for node in froms}
    names |= {f"{node.module}.{alias.name}" for node in froms for alias in node.names}  # it may be a module
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    ours = {name for name in names if name.split(".")[0] == "exemplar"}
    theirs = {name.partition(".")[0] for name in names - ours} - set(sys.stdlib_module_names)
    return theirs.union(*(third_party_imports(name, seen) for name in ours))


def test_a_logged_encoder_asks_for_the_packages_that_its_code_imports() -> None:
    """No more, so that it installs quickly, and no less, so that it runs."""
    assert third_party_imports("exemplar.tracking.serving", set()) - NOT_ASKED_FOR == set(serving.REQUIREMENTS)


def test_the_garbage_collector_works_again_after_mlflow_is_imported(client: "MlflowClient") -> None:
    """It rests while modules are imported, and what they made is walked through no more."""
    assert gc.isenabled()
    assert gc.get_freeze_count() > 100_000


def test_importing_tracking_does_not_import_mlflow() -> None:
    """`--help` of a stage must not wait two seconds for it."""
    code = "import sys, exemplar.tracking.runs; assert not {'mlflow', 'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True)
