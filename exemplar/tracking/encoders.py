"""An encoder that MLflow holds, found by what a user calls it: a registered model's alias, or a training's run."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from exemplar.errors import UserError, one_line
from exemplar.tracking import registry, store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SHORTEST_ID = 6
TRAININGS = "tags.stage = 'train'"
NAMED_IN_ERRORS = 3
MOST_MODELS = 1000  # MLflow's limit of one answer


@contextmanager
def fetched(name: str) -> Iterator[Path]:
    """A saved encoder that MLflow holds, in a folder that is removed after the block.

    `name` is that of a registered model with an alias, `model@alias`, or else a training's run: its id or the beginning
    of it, or its name or that of its DVC experiment; of several with one name the newest counts. Raises UserError for a
    store that is not there, and for a name that none has, with the nearest.
    """
    uri = store.address()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(
            f"there is no file {name}, and no MLflow store {one_line(uri)} with a run of that name; "
            "expected a .safetensors file, or set MLFLOW_TRACKING_URI"
        )
    with store.answering(uri):
        client, experiment = store.connect(uri)
        if "@" in name:
            run = aliased(client, name.removeprefix("models:/"))
        else:
            run = found(name, list(client.search_runs([experiment], TRAININGS, max_results=store.MOST_RUNS)))
        model = registry.logged_by(client, run)
    if model is None:
        raise UserError(f"the run {name} has logged no encoder: it has learnt nothing, or did not end")
    with TemporaryDirectory() as folder:
        with store.answering(uri):
            file = download(model.model_id, uri, Path(folder))
        yield file


def aliased(client: "MlflowClient", name: str) -> "Run":
    """The training of the version that a registered model's alias stands on; raises UserError where there is none."""
    models = client.search_registered_models(max_results=MOST_MODELS)
    known = {
        f"{model.name}@{alias}": (model.name, number) for model in models for alias, number in model.aliases.items()
    }
    if name not in known:
        said = suggested(name, list(known)) or "no registered model has an alias yet"
        raise UserError(f"there is no file and no registered model {name}; {said}")
    return client.get_run(str(client.get_model_version(*known[name]).run_id))


def download(model: str, uri: str, folder: Path) -> Path:
    """Write a logged model into a folder; returns the encoder in it."""
    from mlflow.artifacts import download_artifacts

    download_artifacts(artifact_uri=f"models:/{model}", dst_path=str(folder), tracking_uri=uri)
    return next(folder.rglob("data/*.safetensors"))  # its code brings another encoder along


def found(name: str, runs: "list[Run]") -> "Run":
    """The newest run of this name; raises UserError where there is none."""
    named = {label: run for run in reversed(runs) for label in labels(run)}
    by_id = [run for run in runs if len(name) >= SHORTEST_ID and run.info.run_id.startswith(name)]
    if run := named.get(name) or (by_id[0] if by_id else None):
        return run
    newest = dict.fromkeys(label for run in runs for label in labels(run)[1:])  # an id says nothing to a reader
    said = suggested(name, list(newest)[::-1]) or "there is no training in the store"
    raise UserError(f"there is no file and no training's run {name}; expected a .safetensors file, or a run: {said}")


def suggested(name: str, known: list[str]) -> str:
    """The nearest of the names that are known, else the last ones; empty where there are none."""
    near = get_close_matches(name, known, 1) or known[-NAMED_IN_ERRORS:]
    return f"perhaps {', '.join(near)}?" if near else ""


def labels(run: "Run") -> list[str]:
    """What a run is called: its id, its name, and its DVC experiment's name where it has one."""
    return [run.info.run_id, str(run.info.run_name), *filter(None, [run.data.tags.get("dvc.exp_name")])]
