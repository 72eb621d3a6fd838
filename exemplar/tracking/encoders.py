"""The encoder that a run in MLflow has logged, found by what a user calls it."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from exemplar.errors import UserError, one_line
from exemplar.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SHORTEST_ID = 6
NAMED_IN_ERRORS = 3


@contextmanager
def fetched(name: str) -> Iterator[Path]:
    """The saved encoder of a training's run, in a folder that is removed after the block.

    `name` is the run's id or the beginning of it, or its name or that of its DVC experiment; of several with one name
    the newest counts. Raises UserError for a store that is not there, and for a name that none has, with the nearest.
    """
    uri = store.address()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(
            f"there is no file {name}, and no MLflow store {one_line(uri)} with a run of that name; "
            "expected a .safetensors file, or set MLFLOW_TRACKING_URI"
        )
    with store.answering(uri):
        client, experiment = store.connect(uri)
        trainings = list(client.search_runs([experiment], "tags.stage = 'train'", max_results=store.MOST_RUNS))
    run = found(name, trainings)
    with TemporaryDirectory() as folder:
        with store.answering(uri):
            file = download(client, run, uri, Path(folder))
        if file is None:
            raise UserError(f"the run {name} has logged no encoder: it has learnt nothing, or did not end")
        yield file


def download(client: "MlflowClient", run: "Run", uri: str, folder: Path) -> Path | None:
    """Write the logged encoder of a run into a folder; None where it has none."""
    from mlflow.artifacts import download_artifacts

    chosen = f"source_run_id = '{run.info.run_id}'"
    models = client.search_logged_models([run.info.experiment_id], filter_string=chosen)
    if not models:
        return None
    download_artifacts(artifact_uri=f"models:/{models[0].model_id}", dst_path=str(folder), tracking_uri=uri)
    return next(folder.rglob("data/*.safetensors"))  # its code brings another encoder along


def found(name: str, runs: "list[Run]") -> "Run":
    """The newest run of this name; raises UserError where there is none."""
    named = {label: run for run in reversed(runs) for label in labels(run)}
    by_id = [run for run in runs if len(name) >= SHORTEST_ID and run.info.run_id.startswith(name)]
    if run := named.get(name) or (by_id[0] if by_id else None):
        return run
    near = get_close_matches(name, named, 1) or list(dict.fromkeys(named))[-NAMED_IN_ERRORS:]
    said = f"perhaps {', '.join(near)}?" if near else "there is no training in the store"
    raise UserError(f"there is no file and no training's run {name}; {said}")


def labels(run: "Run") -> list[str]:
    """What a run is called: its id, its name, and its DVC experiment's name where it has one."""
    return [run.info.run_id, str(run.info.run_name), *filter(None, [run.data.tags.get("dvc.exp_name")])]
