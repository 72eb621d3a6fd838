"""MLflow's server, one for all tests of tracking, and a gate before it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gates import Gate
from servers import served

from exemplar.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no server that went away."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """MLflow's server on a fresh store."""
    folder = tmp_path_factory.mktemp("server")
    with served("mlflow.server.app", folder, MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES="ftp") as number:
        yield number


@pytest.fixture
def client(port: int, patience: None) -> "MlflowClient":
    """Somebody who looks into the server's store, past all proxies."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        return store.connect(f"http://127.0.0.1:{port}")[0]


@pytest.fixture
def gate(
    port: int, patience: None, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gate]:
    """The way of a fresh repository to the server, with an experiment of its own."""
    made = Gate(port)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:hunter2@127.0.0.1:{made.server_port}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"{request.node.name} {tmp_path.name}")
    yield made
    made.shutdown()
    made.server_close()
