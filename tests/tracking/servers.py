"""MLflow's server in a process of its own, until a test is done with it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen


@contextmanager
def served(app: str, folder: Path, **environment: str) -> Iterator[int]:
    """The port of the server that this expression makes, on a fresh store in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {
        **os.environ,
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
    }
    command = [sys.executable, "-c", f"import mlflow.server; {app}.run(port={port})"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=kept | environment, stderr=quiet, stdout=quiet)
    for _ in range(2000):
        with suppress(OSError):
            assert urlopen(f"http://127.0.0.1:{port}/health", timeout=60).status == 200
            break
        time.sleep(0.1)
    yield port
    process.kill()
    process.wait()
