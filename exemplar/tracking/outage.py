"""The operations of a run, sent to MLflow at once, or kept on disk while the store is away and sent later."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import UInt8

from exemplar import errors
from exemplar.errors import UserError
from exemplar.io import provenance

if TYPE_CHECKING:
    from mlflow import MlflowClient

Operation = Mapping[str, Any]  # what JSON can say; under "path" a file or folder that goes with it


def spool_folder() -> Path:
    """The folder of all spools, also for a queued run, whose clone DVC deletes."""
    return provenance.user_repository() / ".spool"


class Spool:
    """The operations of one run, a line each, and copies of their files; `store` names where they belong.

    The lock is held from the first line until all is sent, or until the process is gone.
    """

    def __init__(self, run_id: str, *, store: str) -> None:
        self.run_id, self.store, self.folder = run_id, store, spool_folder() / run_id
        self.lines, self.lock = self.folder / "operations.jsonl", FileLock(spool_folder() / f"{run_id}.lock")

    @property
    def waits(self) -> bool:
        """Whether something is kept here."""
        return self.lines.exists()

    def keep(self, operation: Operation) -> None:
        """Append an operation, with a copy of its file, and return when both are on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.lock.is_locked:
            self.lock.acquire()
        lines = [{**operation, **self.copied(operation)}]
        if not self.waits:
            lines.insert(0, {"store": self.store})
        with self.lines.open("a", encoding="utf-8") as opened:
            # The end of line comes first: after a power cut the last line may have none.
            opened.writelines("\n" + json.dumps(line) for line in lines)
            opened.flush()
            os.fsync(opened.fileno())

    def copied(self, operation: Operation) -> dict[str, str]:
        """Copy the operation's file into the spool; returns the path of the copy, which keeps the file's name."""
        if "path" not in operation:
            return {}
        source = Path(operation["path"])
        copy = self.folder / str(len(list(self.folder.iterdir()))) / source.name
        copy.parent.mkdir()
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
        return {"path": str(copy.relative_to(self.folder))}

    def operations(self) -> list[dict[str, Any]]:
        """All that waits, in order."""
        kept = [line for line in iter_operations(self.lines) if "kind" in line] if self.waits else []
        return [each | ({"path": str(self.folder / each["path"])} if "path" in each else {}) for each in kept]

    def clear(self) -> None:
        """Forget what was sent, the lines first: a file without its line does no harm, a line without its file does."""
        self.lines.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        Path(self.lock.lock_file).unlink(missing_ok=True)
        self.lock.release()


def iter_operations(lines: Path) -> Iterator[dict[str, Any]]:
    """What the lines of a spool say; one that a power cut left unfinished says nothing."""
    for line in lines.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(ValueError):
            yield dict(json.loads(line))


def pending() -> list[Spool]:
    """The spools in which something waits, the oldest first."""
    files = sorted(spool_folder().glob("*/operations.jsonl"), key=lambda file: file.stat().st_mtime)
    return [Spool(file.parent.name, store=next(iter_operations(file), {}).get("store", "")) for file in files]


def abandoned() -> Iterator[Spool]:
    """Each spool that no living process writes or sends, locked while the caller has it."""
    for spool in pending():
        try:
            spool.lock.acquire(blocking=False)
        except Timeout:
            continue
        try:
            yield spool
        finally:
            spool.lock.release()


LINE_LENGTH = 500


def one_line(error: BaseException | str) -> str:
    """What an error says, on one line of bounded length, without the user part of any URL."""
    text = errors.one_line(str(error))
    return text if len(text) <= LINE_LENGTH else text[:LINE_LENGTH] + " ..."


def refused(error: Exception) -> bool:
    """Whether sending again is of no use: the store rejected it (a bad value, a deleted run), or our own check did."""
    status = getattr(error, "get_http_status_code", None)
    return isinstance(error, UserError) or (status is not None and status() in (400, 404))


def perform(client: "MlflowClient", run_id: str, operation: Operation) -> None:
    """Send one operation to the store; sending it twice changes nothing.

    MLflow stores metrics with the same time, step and value once, and overwrites everything else.
    """
    from mlflow.entities import Metric, Param, RunTag

    match operation["kind"]:
        case "batch":
            client.log_batch(
                run_id,
                metrics=[Metric(*one) for one in operation.get("metrics", ())],
                params=[Param(*one) for one in operation.get("params", ())],
                tags=[RunTag(*one) for one in operation.get("tags", ())],
            )
        case "text":
            client.log_text(run_id, operation["text"], operation["name"])
        case "file":
            client.log_artifact(run_id, operation["path"], operation["folder"] or None)
        case "encoder":
            log_model(client, run_id, Path(operation["path"]), example=np.array(operation["example"], np.uint8))
        case "nest":
            nest(client, run_id, operation["runs"])
        case "end":
            client.set_terminated(run_id, operation["status"], operation["at"])


def nest(client: "MlflowClient", parent: str, run_ids: list[str]) -> None:
    """Show runs below `parent`; one that is below another already stays there, and one of another store is not here."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    for run_id in run_ids:
        try:
            known = client.get_run(run_id).data.tags
        except MlflowException as error:
            if not refused(error):
                raise
            continue
        if MLFLOW_PARENT_RUN_ID not in known:
            client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, parent)


def log_model(client: "MlflowClient", run_id: str, path: Path, *, example: UInt8[np.ndarray, "n 3 h w"]) -> None:
    """Make a saved encoder the run's logged model, unless it is there already."""
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from exemplar.tracking import serving

    experiment = client.get_run(run_id).info.experiment_id
    models = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
    if any(model.status == "READY" for model in models):
        return
    width = serving._load_pyfunc(path).predict(example).shape[1]
    features = Schema([TensorSpec(np.dtype(np.float32), (-1, width))])
    logged = models[0] if models else client.create_logged_model(experiment, name="encoder", source_run_id=run_id)
    with TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(
            folder,
            loader_module=serving.__name__,
            data_path=str(path),
            code_paths=[str(Path(__file__).parents[1])],
            mlflow_model=Model(run_id=run_id, model_id=logged.model_id, model_uuid=logged.model_id),
            signature=ModelSignature(outputs=features),  # none of the inputs, which would be cast (serving.py)
            input_example=example,
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in serving.REQUIREMENTS],
        )
        client.log_model_artifacts(logged.model_id, folder)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.finalize_logged_model(logged.model_id, "READY")


def deliver(client: "MlflowClient", kept: Spool) -> list[str]:
    """Send all that a spool holds and empty it; returns what the store rejected, raises where the store is away."""
    complaints = []
    for operation in kept.operations():
        try:
            perform(client, kept.run_id, operation)
        except Exception as error:
            if not refused(error):
                raise
            complaints.append(one_line(error))
    kept.clear()
    return complaints


def deliver_pending(client: "MlflowClient", store: str) -> Iterator[str]:
    """Send what earlier runs left for this store; a line about each of their spools."""
    for kept in abandoned():
        if kept.store != store:
            yield f"run {kept.run_id} waits for another store, {kept.store or 'whose name is lost'}"
            continue
        try:
            complaints = deliver(client, kept)
        except Exception as error:
            yield f"run {kept.run_id} still waits: {one_line(error)}"
        else:
            yield f"run {kept.run_id} is sent" + "".join(f"; the store refused: {each}" for each in complaints)
