"""The MLflow store -> its pages, and the address of the table of all evaluations. No stage: `make ui` calls it."""

from typing import Annotated

import typer

from stages import cli

HOST = "127.0.0.1"


def show(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Print the address of the table and serve the store there; one that has a server of its own is only named."""
    import os
    import sys

    from exemplar.errors import without_secrets
    from exemplar.tracking import store, view

    uri = store.address()
    with store.answering(uri):
        _, experiment = store.connect(uri)
    if uri.startswith(("http://", "https://")):
        print(view.address(without_secrets(uri), experiment))
        return
    require_free(port)
    print(f"all evaluations, best first: {view.address(f'http://{HOST}:{port}', experiment)}", flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--backend-store-uri", uri]
    command += ["--workers", "1"]  # one person looks, and each of MLflow's four processes loads all of it
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # jobs are for language models
    os.execv(sys.executable, command)  # noqa: S606  # MLflow's own server takes this process's place


def require_free(port: int) -> None:
    """Raise UserError for a port that another program listens on."""
    import socket

    from exemplar.errors import UserError

    with socket.socket() as tried:
        if tried.connect_ex((HOST, port)) == 0:
            raise UserError(f"port {port} is in use, perhaps by an earlier make ui; call make ui PORT={port + 1}")


if __name__ == "__main__":
    cli.start(show)
