"""MLflow's server, one for all tests of tracking, and a gate before it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from gates import Gate

from exemplar.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVE = "import sys; from mlflow.server import app; app.run(port=int(sys.argv[1]))"


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no server that went away."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """MLflow's server on a fresh store."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    environment = os.environ | {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
    }
    command = [sys.executable, "-c", SERVE, str(number)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(2000):
        with suppress(OSError):
            assert urlopen(f"http://127.0.0.1:{number}/health", timeout=60).status == 200
            break
        time.sleep(0.1)
    yield number
    process.kill()
    process.wait()


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
