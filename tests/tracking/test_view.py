"""How the experiment looks in MLflow's pages."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from exemplar.tracking import runs, store, view

# mlflow's own, which it hides itself outside of pytest
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Somebody who looks into a store of our own."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return store.connect(store.address())[0]


def test_the_experiment_has_its_note_and_its_table(client: MlflowClient):
    """Also one that was made before they were; its columns are what evaluations log."""
    experiment = client.get_experiment_by_name(store.OURS)
    assert {name: experiment.tags[name] for name in view.TAGS} == view.TAGS
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "old")
    store.connect(store.address())
    assert client.get_experiment(experiment.experiment_id).tags["mlflow.note.content"] == view.NOTE
    table = json.loads(experiment.tags[f"mlflow.sharedViewState.{view.KEY}"])
    assert "metrics.`accuracy`" in table["selectedColumns"]
    assert view.address("http://127.0.0.1:5000/", "7").startswith("http://127.0.0.1:5000/#/experiments/7/runs?")


def test_the_filter_of_the_table_finds_evaluations_and_nothing_else(client: MlflowClient):
    """A training has no readout."""
    for stage, tags in (("train", {}), ("probe", {"readout": "probe"}), ("finetune", {"readout": "finetune"})):
        with runs.run(stage=stage, name=stage, parameters={}, inputs=[]) as run:
            run.log_tags(tags)
    found = client.search_runs([run.experiment], view.TABLE["searchFilter"])
    assert {each.data.tags["stage"] for each in found} == {"probe", "finetune"}


def test_runs_stand_below_the_first_comparison_that_rests_on_them(client: MlflowClient):
    """A later one takes none away, and a run of another store is passed over."""
    identities = []
    for stage in ("train", "compare", "compare"):
        with runs.run(stage=stage, name=stage, parameters={}, inputs=[]) as run:
            identities.append(run.id)
            if stage == "compare":
                run.nest([identities[0], "0" * 32])
    below = client.get_run(identities[0]).data.tags["mlflow.parentRunId"]
    assert below == identities[1]


def test_a_run_has_a_page_on_the_server_of_its_store_or_where_make_ui_serves_it():
    """Without the name and the password that an address may hold."""
    remote = view.run_address("https://alice:hunter2@mlflow.example/", "7")
    assert remote == "https://mlflow.example/#/experiments/7/runs/"
    assert view.run_address("sqlite:////tmp/mlflow.db", "1") == "http://127.0.0.1:5000/#/experiments/1/runs/"


def test_a_run_is_named_by_what_it_is(monkeypatch: pytest.MonkeyPatch):
    """Method, stage, dataset, and the DVC experiment where there is one."""
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    assert runs.name_of("probe", "photos", "exemplar") == "exemplar · probe · photos"
    assert (runs.name_of("train", "exemplar"), runs.name_of("compare")) == ("exemplar · train", "compare")
    monkeypatch.setenv("DVC_EXP_NAME", "moved-orca")
    assert runs.name_of("train", "exemplar") == "exemplar · train · moved-orca"
