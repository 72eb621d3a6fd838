"""The MLflow store, which the user chooses or else is a file in the repository: how it is opened and kept clean.

Runs whose process died without closing them (kill -9, a power cut) are closed or gone on with here.
"""

import gc
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from filelock import FileLock

from exemplar.errors import UserError, one_line
from exemplar.io import foreign, provenance
from exemplar.io.atomic import replacing
from exemplar.tracking import owners, view
from exemplar.tracking.database import ARTIFACTS, SECONDS_FOR_THE_LOCK, follow_move, make_database
from exemplar.tracking.deadline import TIMEOUT, Timely
from exemplar.tracking.remedies import remedy

if TYPE_CHECKING:
    from mlflow import MlflowClient

OURS = "exemplar"
# Set before mlflow is imported, unless the user has set them: no telemetry, no bars, only warnings, no address with its
# password on stdout, and an error about a dead server within 20 seconds instead of minutes.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a header must not stop a training for hours
    TIMEOUT: "10",
}
MOST_RUNS = 50_000
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
WORK_TAG, WORK_BYTES = "work", 32
ORPHANED = "its process is gone and did not say why (kill -9, power cut, out of memory)"


def address() -> str:
    """MLFLOW_TRACKING_URI, else mlflow.db in the user's repository, where a relative SQLite path leads too.

    Raises UserError where the repository's path has a question mark, behind which SQLite would read options.
    """
    uri = (os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db").strip()
    path = uri.removeprefix("sqlite:///")
    root = provenance.user_repository()
    if path != uri and "?" in str(root) and not Path(path).is_absolute():
        raise UserError(
            f"the path of the repository, {root}, has a question mark, and the address of MLflow's database cannot: "
            "move the repository, or set MLFLOW_TRACKING_URI to a store elsewhere"
        )
    return uri.rstrip("/") if path == uri else f"sqlite:///{root / path}"  # a server is one, with a slash or without


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Raise a UserError for any error while the store is opened."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        advice = remedy(error) or "start it, or correct the address"
        raise UserError(
            f"the MLflow store {one_line(uri)} cannot be used ({one_line(error)}): {advice}, or set "
            "MLFLOW_TRACKING_URI to another one, or unset it to use mlflow.db in the repository"
        ) from None


@contextmanager
def collecting_later() -> Iterator[None]:
    """Import with the garbage collector off: it took 0.8 of the 2.1 seconds that mlflow takes, and freed nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # modules stay, so later collections need not walk through them
        gc.enable()


def connect(uri: str) -> "tuple[MlflowClient, str]":
    """A client of the store and the id of our experiment there, made if it is missing.

    Jobs that meet a fresh SQLite file together wait for each other: without the lock 3 of 8 failed in its migration.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with collecting_later():
        from mlflow import MlflowClient

        if uri.startswith(DATABASES):
            import mlflow.store.db.utils
            import mlflow.store.tracking.sqlalchemy_store
    if uri.startswith(DATABASES):
        mlflow.store.db.utils.MAX_RETRY_COUNT = 1  # its ten attempts take 101 seconds
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # its tracebacks become our one line
    if not uri.startswith("sqlite:///"):
        client = cast("MlflowClient", Timely(MlflowClient(uri)))
        artifacts = provenance.user_repository() / ARTIFACTS if uri.startswith(DATABASES) else None
        return client, find_experiment(client, artifacts=artifacts)
    file = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    file = file.resolve() if file.is_symlink() else file
    with FileLock(f"{file}.lock", timeout=SECONDS_FOR_THE_LOCK):
        make_database(file)
        client = MlflowClient(uri)
        experiment = find_experiment(client, artifacts=file.with_name(ARTIFACTS))
        if file.parent == provenance.user_repository():
            follow_move(file, client.get_experiment(experiment).artifact_location)
        return client, experiment


def experiment_name() -> str:
    """The experiment of all runs: MLFLOW_EXPERIMENT_NAME, else ours."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or OURS


def find_experiment(client: "MlflowClient", *, artifacts: Path | None) -> str:
    """The id of the experiment, made if it is missing; the artifacts of a database lie where `artifacts` says.

    It gets its note and its table there, too.
    """
    from mlflow.exceptions import MlflowException

    name, location = experiment_name(), artifacts.as_uri() if artifacts else None
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=view.TAGS))
        except MlflowException:  # another job was faster
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    number = experiment.experiment_id
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"the experiment {name!r} was deleted in the MLflow store; `mlflow experiments restore "
            f"--experiment-id {number}` brings it back, `mlflow gc --experiment-ids {number}` makes room for a new one"
        )
    with suppress(MlflowException):  # who may only read finds the runs all the same
        view.describe(client, number, experiment.tags, ours=name == OURS)
    return str(number)


def find_orphans(client: "MlflowClient", experiment: str) -> list[str]:
    """The ids of the runs that are RUNNING although their process is gone."""
    running = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    return [
        run.info.run_id for run in running if owners.is_gone(run.data.tags.get(owners.TAG, ""), run_id=run.info.run_id)
    ]


def close_orphans(client: "MlflowClient", experiment: str) -> None:
    """Mark the runs whose process is gone as KILLED, with the reason."""
    for run_id in find_orphans(client, experiment):
        client.set_tag(run_id, "reason", ORPHANED)
        client.set_terminated(run_id, "KILLED")


def work_of(marker: Path) -> str:
    """The name of an unfinished work: the one in its file, or a new one that is written there.

    It is written before a run is made that has it as a tag, so that a kill at any moment leaves no run that is lost.
    """
    with suppress(OSError, ValueError):
        name = foreign.read(marker, most_bytes=WORK_BYTES).decode("ascii")
        if re.fullmatch("[0-9a-f]{32}", name):
            return name
    name = uuid4().hex
    with replacing(marker) as temporary:
        temporary.write_text(name, encoding="ascii")
    return name


def reopened(client: "MlflowClient", experiment: str, work: str) -> str | None:
    """The id of the run of a work, RUNNING again; None where this store has none of this repository, or no more."""
    from mlflow.exceptions import MlflowException

    found = client.search_runs([experiment], f"tags.{WORK_TAG} = '{work}'")
    of_work = [run for run in found if not owners.is_elsewhere(run.data.tags.get(owners.TAG, ""))]
    if not of_work:
        return None
    run_id: str = of_work[0].info.run_id
    with suppress(MlflowException):  # all tags are sent later, but from here on others may take it for abandoned
        client.set_tag(run_id, owners.TAG, owners.owner())
    client.update_run(run_id, status="RUNNING")
    if "reason" in of_work[0].data.tags:
        client.delete_tag(run_id, "reason")
    return run_id


def census() -> tuple[int, int]:
    """How many runs the store holds, and how many of them say RUNNING although their process is gone."""
    with answering(address()):
        client, experiment = connect(address())
        return len(client.search_runs([experiment], max_results=MOST_RUNS)), len(find_orphans(client, experiment))
