"""How our experiment looks in MLflow's pages: a note that says how to read it, and the table that answers the question.

The table is a shared view, as the button Share of MLflow 3.17 makes one: a tag of the experiment that holds filter,
order and columns as JSON, and an address with the tag's key.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from exemplar.errors import without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = """\
Each run of the pipeline (`make repro`, `dvc exp run`) is one row, *compare*, with its trainings and evaluations nested
below it. A run's name says what it is: the encoder, the stage, the dataset, and the DVC experiment where there is one.

- **compare** holds all settings, all accuracies and the page `report.html`.
- **train** holds a learning curve, the settings that made its samples, pictures of both, and the encoder as a model.
- **probe** and **finetune** hold the accuracy of one encoder on one dataset: the mean over the folds and, as steps,
  each fold's own. `accuracy_std` is the standard deviation over the folds, `accuracy_margin` half the
  width of the 95 % interval; `confusion.png` shows what is mistaken.
- **invariance** holds how features and accuracy change when test images do.

Accuracies are between 0 and 1. `make ui` prints the address of the table of all evaluations, best first.
"""
KEY, LOCAL = "exemplar", "http://127.0.0.1:5000"
COLUMNS = (
    "attributes.`Dataset`",
    *(f"tags.`{name}`" for name in ("method", "readout")),
    *(f"metrics.`{name}`" for name in ("accuracy", "accuracy_margin", "accuracy_std", "knn_accuracy")),
    *(f"params.`{name}`" for name in ("model", "random_seed")),
    "tags.`dvc.exp_name`",
)
TABLE = {
    "searchFilter": "tags.readout LIKE '%'",  # which evaluations have, and no other run
    "orderByKey": "metrics.`accuracy`",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "selectedColumns": list(COLUMNS),
}
TAGS = {
    "mlflow.note.content": NOTE,
    "mlflow.experimentKind": "custom_model_development",  # its pages are those for models, not those for chats
    f"mlflow.sharedViewState.{KEY}": json.dumps(TABLE),
}


def describe(client: "MlflowClient", experiment: str, tags: Mapping[str, str], *, ours: bool) -> None:
    """Give the experiment its note and its table, unless `tags` has them; a team's own note stays as it is."""
    for name, value in TAGS.items():
        if tags.get(name) != value and (ours or name not in tags):
            client.set_experiment_tag(experiment, name, value)


def run_address(uri: str, experiment: str) -> str:
    """Where the pages of runs begin, which end with an id: on the store's server, else where `make ui` serves it."""
    server = without_secrets(uri).rstrip("/") if uri.startswith(("http://", "https://")) else LOCAL
    return f"{server}/#/experiments/{experiment}/runs/"


def address(server: str, experiment: str) -> str:
    """Where the table of all evaluations is."""
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"
