"""Trained encoders as versions of registered models: their cards, their accuracies, and the alias of the best.

What a version says is made of the runs in the store, its training's and those that evaluated the same file. So it may
be written in any order and any number of times.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exemplar.errors import UserError
from exemplar.tracking import card

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
ENCODER = "encoder"  # the tag of runs and versions that holds the md5 of an encoder's file
REFUSED = "encoder.refused"  # the tag of a run whose encoder the store did not take


@contextmanager
def unless_it_exists() -> Iterator[None]:
    """Pass over MLflow's error for a name that is taken already."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def logged_by(client: "MlflowClient", training: "Run") -> "LoggedModel | None":
    """The model that a training has logged, which MLflow does not tell of a registered version; None without one."""
    chosen = f"source_run_id = '{training.info.run_id}'"
    return next(iter(client.search_logged_models([training.info.experiment_id], filter_string=chosen)), None)


def register(client: "MlflowClient", run_id: str, *, name: str, md5: str) -> None:
    """Make the encoder that a training has logged a version of the model `name`, unless it is one.

    Raises OSError while the encoder has not arrived, and UserError where it will not, because it was refused.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    if client.search_model_versions(f"run_id = '{run_id}'"):
        return
    training = client.get_run(run_id)
    model = logged_by(client, training)
    if model is None or model.status != "READY":
        if REFUSED in training.data.tags:
            raise UserError(f"the encoder of run {run_id} was refused, so it is no version of the model {name}")
        raise OSError("the encoder has not arrived, so that it cannot be registered")
    with unless_it_exists():
        client.create_registered_model(name, description=card.MODEL)
    made = client.create_model_version(
        name,
        model.artifact_location,  # its address of the form models:/ would be looked up in another store
        run_id=run_id,
        model_id=model.model_id,
        tags={ENCODER: md5},
        await_creation_for=0,
    )
    linked = json.dumps([{"name": name, "version": made.version}])  # as MLflow's server does, and its client does not
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: linked})


def describe(client: "MlflowClient", *, md5: str, ranked_on: str) -> None:
    """Write card and accuracies of the versions that hold this encoder, and put the alias on the best.

    Nothing happens where there is no such version, as for filters that were drawn and never trained.
    """
    for version in client.search_model_versions(f"tags.{ENCODER} = '{md5}'"):
        training = client.get_run(str(version.run_id))
        evaluations = newest(client.search_runs([training.info.experiment_id], f"tags.{ENCODER} = '{md5}'"))
        text = card.write(version.name, training, evaluations)
        client.update_model_version(version.name, version.version, text)
        model = logged_by(client, training)
        for evaluation in evaluations:
            tell(client, version, model.model_id if model else None, evaluation)
        crown(client, version.name, str(version.version), ranked_on=ranked_on)


def newest(runs: "Sequence[Run]") -> "list[Run]":
    """The last evaluation of each dataset and readout, of runs that come newest first."""
    measured = [run for run in runs if "readout" in run.data.tags and "accuracy" in run.data.metrics]
    last = {card.key(run): run for run in reversed(measured)}
    return [last[key] for key in sorted(last, key=lambda key: (key.partition(".")[2], key.startswith("finetune")))]


def tell(client: "MlflowClient", version: "ModelVersion", model: str | None, evaluation: "Run") -> None:
    """Give a version the accuracy of an evaluation, and its logged model the same as metrics of that dataset."""
    from mlflow.entities import Metric

    run_id, dataset, md5 = evaluation.info.run_id, evaluation.data.tags["dataset"], card.digest(evaluation)
    point = client.get_metric_history(run_id, "accuracy")[-1]
    for name, value in {card.key(evaluation): f"{point.value:.4f}", f"md5.{dataset}": md5}.items():
        client.set_model_version_tag(version.name, version.version, name, value)
    about = {"model_id": model, "dataset_name": dataset, "dataset_digest": md5, "run_id": run_id}
    name = f"{evaluation.data.tags['readout']}_accuracy"
    client.log_batch(run_id, metrics=[Metric(name, point.value, point.timestamp, 0, **about)])


def crown(client: "MlflowClient", name: str, number: str, *, ranked_on: str) -> None:
    """Put the alias on the version with the highest probe accuracy on a dataset, of equal ones on the oldest.

    Only versions that were measured on the same images as version `number` are compared. Where two runs do this at
    the same time, the last one to compare decides.
    """
    metric, images = f"probe.{ranked_on}", f"md5.{ranked_on}"
    versions = {str(version.version): version for version in client.search_model_versions(f"name = '{name}'")}
    same = versions[number].tags.get(images)
    rivals = [one for one in versions.values() if metric in one.tags and one.tags.get(images) == same]
    if rivals:
        best = max(rivals, key=lambda one: (float(one.tags[metric]), -int(one.version)))
        client.set_registered_model_tag(name, CHAMPION, metric)
        client.set_registered_model_alias(name, CHAMPION, best.version)
