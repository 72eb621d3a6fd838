"""What a run tells MLflow, one operation at a time: how it is sent, and what an error of it means."""

import json
import posixpath
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from exemplar.errors import UserError, one_line
from exemplar.io.integrity import files
from exemplar.tracking import registry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo, Run

Operation = Mapping[str, Any]  # what JSON can say; under "path" a file or folder that goes with it
# The parts of a server that fail apart; all operations but these are numbers.
NUMBERS, FILES, MODELS = "numbers", "files", "models"
PARTS = {"text": FILES, "file": FILES, "picture": FILES, "encoder": FILES, "version": MODELS, "evaluation": MODELS}
# The last two are those of a server without a registry of models.
FINAL = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "FEATURE_DISABLED", "ENDPOINT_NOT_FOUND")
SLOW_SECONDS, PATIENCE = 1.0, 100  # a failure that took longer than this is not repeated for so many times as long


def part_of(operation: Operation) -> str:
    """The part of the server that an operation needs."""
    return PARTS.get(operation["kind"], NUMBERS)


def refused(error: BaseException) -> bool:
    """Whether sending again is of no use: MLflow rejected it (a bad value, a run that is gone), or our own check did.

    Of a server only its own JSON counts, because any proxy sends a status of 400 or 404.
    """
    if isinstance(error, UserError):
        return True
    body = getattr(error, "json", None)
    if isinstance(body, Mapping):
        return body.get("error_code") in FINAL
    return not str(error).startswith("API request to ") and getattr(error, "error_code", None) in FINAL


class Sender:
    """Sends operations one by one. A part of the server that fails slowly is left alone for a hundred times as long."""

    def __init__(self, client: "MlflowClient") -> None:
        self.client = client
        self.failures = dict[str, tuple[float, Exception]]()  # until when, and why

    def leave_alone(self, part: str, error: Exception, *, seconds: float) -> None:
        """Try nothing of this part for so long, but raise this error."""
        self.failures[part] = (time.monotonic() + seconds, error)

    def send(self, run_id: str, operation: Operation) -> None:
        """Send an operation; raises what MLflow raises, also where it raised that lately."""
        part, started = part_of(operation), time.monotonic()
        until, failure = self.failures.get(part, (0.0, None))
        if failure and started < until:
            raise failure.with_traceback(None)  # which would grow, and hold every operation that it met
        try:
            perform(self.client, run_id, operation)
        except Exception as error:
            seconds = time.monotonic() - started
            if seconds > SLOW_SECONDS and not refused(error):
                self.leave_alone(part, error, seconds=PATIENCE * seconds)
            if operation["kind"] == "encoder" and refused(error):
                with suppress(Exception):  # else its version waits for it
                    self.client.set_tag(run_id, registry.REFUSED, one_line(error))
            raise


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
            with TemporaryDirectory() as folder:
                path = Path(folder, Path(operation["name"]).name)
                path.write_text(operation["text"], encoding="utf-8", errors="replace")
                upload(client, run_id, path, folder="")
        case "file":
            upload(client, run_id, Path(operation["path"]), folder=operation["folder"])
        case "picture":
            if found(client, operation["run"]):
                upload(client, operation["run"], Path(operation["path"]), folder="")
        case "encoder":
            log_model(client, run_id, Path(operation["path"]), example=np.array(operation["example"], np.uint8))
        case "dataset":
            log_dataset(client, run_id, operation)
        case "version":
            registry.register(client, run_id, name=operation["name"], md5=operation["md5"])
            registry.describe(client, md5=operation["md5"], ranked_on=operation["ranked_on"])
        case "evaluation":
            registry.describe(client, md5=operation["md5"], ranked_on=operation["ranked_on"])
        case "nest":
            nest(client, run_id, operation["runs"])
        case "end":
            close(client, run_id, operation)
        case kind:
            raise ValueError(f"no operation is called {kind!r} in this version")


def log_dataset(client: "MlflowClient", run_id: str, read: Operation) -> None:
    """Name a dataset among a run's inputs; MLflow stores one of the same name and digest once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    remote = read["source"].startswith(("http://", "https://"))
    kind, source = ("http", {"url": read["source"]}) if remote else ("local", {"uri": read["source"]})
    dataset = Dataset(read["name"], read["md5"], kind, json.dumps(source))
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, read["context"])])])


def close(client: "MlflowClient", run_id: str, end: Operation) -> None:
    """End a run; a reason that an earlier end or another process gave is taken back."""
    if end["reason"]:
        client.set_tag(run_id, "reason", end["reason"])
    elif "reason" in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, "reason")
    client.set_terminated(run_id, end["status"], end["at"])


def upload(client: "MlflowClient", run_id: str, path: Path, *, folder: str) -> None:
    """Send a file or a folder as an artifact; raises where the server does not list all of it afterwards."""
    if not path.exists():
        raise UserError(f"{path} is gone, so it cannot be sent")
    client.log_artifact(run_id, str(path), folder or None)
    sent = {path.name: path} if path.is_file() else files_below(path, name=path.name)
    require_listed(
        {posixpath.join(folder, name): file for name, file in sent.items()},
        lambda place: client.list_artifacts(run_id, place or None),
    )


def files_below(path: Path, *, name: str) -> dict[str, Path]:
    """All files of a folder, by the names that they have as artifacts where the folder is called `name`."""
    return {posixpath.join(name, file.relative_to(path).as_posix()): file for file in files(path)}


def require_listed(sent: Mapping[str, Path], listing: "Callable[[str], Iterable[FileInfo]]") -> None:
    """Raise OSError for a file that the store does not list with its size: a login page answers an upload with 200."""
    held = {info.path: info.file_size for place in {*map(posixpath.dirname, sent)} for info in listing(place)}
    for name, file in sent.items():
        if held.get(name, -1) not in (None, file.stat().st_size):  # some stores tell no size
            raise OSError(f"MLflow's server does not list the artifact {name} after its upload")


def nest(client: "MlflowClient", parent: str, run_ids: list[str]) -> None:
    """Show runs below `parent`; one that is below another already stays there, and one of another store is not here."""
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    for run_id in run_ids:
        run = found(client, run_id)
        if run and MLFLOW_PARENT_RUN_ID not in run.data.tags:
            client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, parent)


def found(client: "MlflowClient", run_id: str) -> "Run | None":
    """A run; None where this store has none of this id."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if refused(error):
            return None
        raise


def log_model(client: "MlflowClient", run_id: str, path: Path, *, example: UInt8[np.ndarray, "n 3 h w"]) -> None:
    """Make a saved encoder the run's logged model, unless it is there already."""
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from exemplar.tracking import serving

    run = client.get_run(run_id)
    logged = registry.logged_by(client, run)
    if logged and logged.status == "READY":
        return
    width = serving._load_pyfunc(path).predict(example).shape[1]
    features = Schema([TensorSpec(np.dtype(np.float32), (-1, width))])
    experiment = run.info.experiment_id
    logged = logged or client.create_logged_model(experiment, name="encoder", source_run_id=run_id)
    with TemporaryDirectory() as folder, TemporaryDirectory() as code:
        package = Path(__file__).parents[1]
        copytree(package, Path(code, package.name), ignore=ignore_patterns("__pycache__", "*.safetensors"))
        mlflow.pyfunc.save_model(
            folder,
            loader_module=serving.__name__,
            data_path=str(path),
            code_paths=[str(Path(code, package.name))],
            mlflow_model=Model(run_id=run_id, model_id=logged.model_id, model_uuid=logged.model_id),
            signature=ModelSignature(outputs=features),  # none of the inputs, which would be cast (serving.py)
            input_example=example,
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in serving.REQUIREMENTS],
        )
        client.log_model_artifacts(logged.model_id, folder)
        require_listed(
            files_below(Path(folder), name=""),
            lambda place: client.list_logged_model_artifacts(logged.model_id, place or None),
        )
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.finalize_logged_model(logged.model_id, "READY")
