"""What MLflow can be told about a run, each thing as an operation that is sent at once or kept and sent later."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from exemplar import errors, spool
from exemplar.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

LINE_LENGTH = 500


def one_line(error: BaseException | str) -> str:
    """What an error says, on one line of bounded length, without the user part of any URL."""
    text = errors.one_line(str(error))
    return text if len(text) <= LINE_LENGTH else text[:LINE_LENGTH] + " ..."


def refused(error: Exception) -> bool:
    """Whether asking again is of no use: the store said no (a bad value, a deleted run), or the thing is wrong."""
    status = getattr(error, "get_http_status_code", None)
    return isinstance(error, UserError) or (status is not None and status() in (400, 404))


def perform(client: "MlflowClient", run_id: str, operation: spool.Operation) -> None:
    """Tell the store one thing about a run. It may be told twice: the second time changes nothing.

    Numbers with the same time, step and value are one row to MLflow, everything else is overwritten.
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
        case "end":
            client.set_terminated(run_id, operation["status"], operation["at"])


def log_model(client: "MlflowClient", run_id: str, path: Path, *, example: UInt8[np.ndarray, "n 3 h w"]) -> None:
    """Make a saved encoder the run's logged model, unless it is there already."""
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from exemplar import serving

    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
    if any(model.status == "READY" for model in found):
        return
    width = serving._load_pyfunc(path).predict(example).shape[1]
    images = Schema([TensorSpec(np.dtype(np.uint8), (-1, 3, -1, -1))])
    features = Schema([TensorSpec(np.dtype(np.float32), (-1, width))])
    logged = found[0] if found else client.create_logged_model(experiment, name="encoder", source_run_id=run_id)
    with TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(
            folder,
            loader_module=serving.__name__,
            data_path=str(path),
            code_paths=[str(Path(__file__).parent)],
            mlflow_model=Model(run_id=run_id, model_id=logged.model_id, model_uuid=logged.model_id),
            signature=ModelSignature(images, features),
            input_example=example,
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in serving.REQUIREMENTS],
        )
        client.log_model_artifacts(logged.model_id, folder)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.finalize_logged_model(logged.model_id, "READY")


def deliver(client: "MlflowClient", kept: spool.Spool) -> list[str]:
    """Send all that a spool holds and empty it; returns what was refused for good, raises what keeps it waiting."""
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


def deliver_left(client: "MlflowClient", store: str) -> Iterator[str]:
    """Send what earlier runs left for this store; a line about each of their spools."""
    for kept in spool.nobodys():
        if kept.store != store:
            yield f"run {kept.run_id} waits for another store, {kept.store or 'whose name is lost'}"
            continue
        try:
            complaints = deliver(client, kept)
        except Exception as error:
            yield f"run {kept.run_id} still waits: {one_line(error)}"
        else:
            yield f"run {kept.run_id} is sent" + "".join(f"; the store refused: {each}" for each in complaints)
