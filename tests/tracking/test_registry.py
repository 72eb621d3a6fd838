"""Trained encoders as registered models: versions, cards, the alias of the best, and the datasets of their runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
from gates import Gate
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from tracked import NAME, draw, evaluate, measured_on, train

from exemplar.errors import UserError
from exemplar.tracking import encoders, outage, registry, runs, store

# mlflow's own, which it hides itself outside of pytest
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which DVC runs a stage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    measured_on(1)
    return tmp_path


@pytest.fixture
def client(repository: Path) -> MlflowClient:
    """Somebody who looks into the store."""
    return store.connect(store.address())[0]


def versions(client: MlflowClient) -> dict[str, ModelVersion]:
    """All versions, by the number of each."""
    return {one.version: client.get_model_version(NAME, one.version) for one in client.search_model_versions()}


def logged(client: MlflowClient, run_id: str) -> list[Metric]:
    """The metrics of the model that a training has logged."""
    model = registry.logged_by(client, client.get_run(run_id))
    return client.get_logged_model(model.model_id).metrics


def test_a_trained_encoder_is_a_version_whose_card_gains_the_results(client: MlflowClient):
    """Data, training, limits, licence and use stand on it at once; every evaluation adds a line and a tag."""
    encoder = draw(0)
    run_id = train(encoder)
    card = versions(client)[1].description
    for said in (
        "network `4c5-8f`",
        "by the method `exemplar`",
        "The unlabeled images of `photos` (md5 0123456789ab...)",
        "400 seeds, cut from these images, and 8 samples of each; recipe `fast`, batches of 64, learning rate 0.1",
        "6,400 images through the encoder, on cpu, an AMD EPYC; random seed 3",
        "No evaluation of it has ended yet.",
        "MIT",
        f'encoder = exemplar.load_encoder("{run_id}")',
    ):
        assert said in card
    evaluate(encoder, 0.603)
    evaluate(encoder, 0.54, readout="finetune")
    evaluate(encoder, 0.71, dataset="stl10")
    (version,) = versions(client).values()
    assert version.description.startswith("probe.photos 60.3 %; finetune.photos 54.0 %; probe.stl10 71.0 %\n")
    assert [line for line in version.description.splitlines() if line.startswith("| `")] == [
        "| `photos` | linear SVM on its features | 60.3 ± 1.0 | 57.3 to 63.3 | – |",
        "| `photos` | the whole network, fine-tuned | 54.0 ± 1.0 | 50.9 to 57.1 | – |",
        "| `stl10` | linear SVM on its features | 71.0 ± 1.0 | 68.2 to 73.8 | – |",
    ]
    assert (
        version.tags.items() >= {"probe.photos": "0.6030", "finetune.photos": "0.5400", "probe.stl10": "0.7100"}.items()
    )


def test_a_task_without_seeds_tells_of_none(client: MlflowClient):
    """Rotation cuts squares of its own, in batches of another size."""
    train(draw(0), "rotation")
    card = client.get_model_version("rotation-4c5-8f", "1").description
    assert "by the method `rotation`" in card
    assert "seeds" not in card
    assert "- **Training.** 6,400 images through the encoder" in card


def test_no_version_waits_for_an_encoder_that_was_refused(client: MlflowClient, capfd: pytest.CaptureFixture[str]):
    """Both are told, and nothing is left for `make sync`."""
    with runs.run(stage="train", name="exemplar · train", parameters={}, inputs=[]) as run:
        run.tell("encoder", path="gone.safetensors", example=np.zeros((1, 3, 36, 36)).tolist())
        run.tell("version", name=NAME, md5="0" * 32, ranked_on="photos")
    assert registry.REFUSED in client.get_run(run.id).data.tags
    assert "refused for good" in capfd.readouterr().err
    assert not list(outage.pending())
    assert not client.search_model_versions()


def test_the_logged_model_has_the_accuracies_as_metrics_of_their_datasets(client: MlflowClient):
    """As MLflow's page of a model shows them, once however often they are told."""
    encoder = draw(0)
    run_id = train(encoder)
    evaluate(encoder, 0.6)
    evaluate(encoder, 0.7, dataset="stl10")
    metrics = logged(client, run_id)
    told = [(each.key, each.value, each.dataset_name, each.dataset_digest) for each in metrics]
    assert sorted(told) == [
        ("probe_accuracy", 0.6, "photos", "1" * 12),
        ("probe_accuracy", 0.7, "stl10", "3" * 12),
    ]


def test_the_alias_stands_on_the_best_version_by_the_probe_on_the_first_dataset(client: MlflowClient):
    """Other datasets and fine-tuning do not move it, a worse version does not, and an equal one does not either."""
    for random_seed, accuracy in enumerate((0.6, 0.62, 0.61, 0.62)):
        encoder = draw(random_seed)
        train(encoder)
        evaluate(encoder, accuracy)
        evaluate(encoder, accuracy + random_seed / 10, dataset="stl10")
        evaluate(encoder, accuracy + random_seed / 10, readout="finetune")
    assert client.get_model_version_by_alias(NAME, "champion").version == 2
    assert client.get_registered_model(NAME).tags == {"champion": "probe.photos"}
    assert versions(client)[2].aliases == ["champion"]


def test_accuracies_on_other_images_of_the_same_name_are_not_compared(client: MlflowClient):
    """Whoever makes the dataset easier gets a new champion, and not one that no honest version can beat."""
    for images, accuracy in ((1, 0.9), (2, 0.6), (2, 0.5)):
        measured_on(images)
        encoder = draw(int(100 * accuracy))
        train(encoder)
        evaluate(encoder, accuracy)
    assert client.get_model_version_by_alias(NAME, "champion").version == 2


def test_filters_that_were_never_trained_are_no_model(client: MlflowClient):
    """Their evaluation is a run like any other."""
    assert client.get_run(evaluate(draw(0), 0.5)).info.status == "FINISHED"
    assert client.search_registered_models() == []


def test_an_encoder_that_arrives_after_its_evaluation_has_the_results_at_once(client: MlflowClient):
    """What a version says is made of the runs in the store, in whatever order they came."""
    encoder = draw(0)
    evaluate(encoder, 0.6)
    train(encoder)
    assert "60.0 ± 1.0" in versions(client)[1].description
    assert client.get_model_version_by_alias(NAME, "champion").version == 1


def test_the_champion_is_loaded_by_its_name(client: MlflowClient, repository: Path):
    """As `model@alias` and as MLflow's address; a name that none has is told with the nearest."""
    for random_seed, accuracy in enumerate((0.6, 0.7, 0.65)):
        train(draw(random_seed))
        evaluate(draw(random_seed), accuracy)
    for name in (f"{NAME}@champion", f"models:/{NAME}@champion"):
        with encoders.fetched(name) as file:
            assert file.read_bytes() == Path("1.safetensors").read_bytes()
    with pytest.raises(UserError, match=rf"no registered model {NAME}@champ; perhaps {NAME}@champion\?"):
        encoders.fetched(f"{NAME}@champ").__enter__()


def test_without_any_alias_that_is_told(client: MlflowClient):
    """And nothing else is taken for it."""
    train(draw(0))
    with pytest.raises(UserError, match=r"no registered model x@champion; no registered model has an alias yet"):
        encoders.fetched("x@champion").__enter__()


def test_a_run_names_the_datasets_that_it_read(client: MlflowClient):
    """By the first digits of the md5 that DVC recorded, with their source and use; without one there is none."""
    encoder = draw(0)
    (trained,) = client.get_run(train(encoder)).inputs.dataset_inputs
    assert (trained.dataset.name, trained.dataset.digest) == ("photos", "0123456789ab")
    assert [(tag.key, tag.value) for tag in trained.tags] == [("mlflow.data.context", "unlabeled")]
    assert json.loads(trained.dataset.source) == {"uri": "data/unlabeled"}
    (tested,) = client.get_run(evaluate(encoder, 0.7, dataset="stl10")).inputs.dataset_inputs
    assert (tested.dataset.source_type, json.loads(tested.dataset.source)) == (
        "http",
        {"url": "http://ai.stanford.edu/stl10.tar.gz"},
    )
    assert client.get_run(evaluate(encoder, 0.7, dataset="unknown")).inputs.dataset_inputs == []


def test_a_repository_that_moves_takes_its_models_along(
    client: MlflowClient, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    """Their addresses are corrected like those of runs."""
    encoder = draw(0)
    train(encoder)
    evaluate(encoder, 0.6)
    moved = repository.rename(repository.with_name(f"{repository.name} moved"))
    monkeypatch.chdir(moved)
    monkeypatch.setenv("DVC_ROOT", str(moved))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved}/mlflow.db")
    with encoders.fetched(f"{NAME}@champion") as file:
        assert file.read_bytes() == encoder.read_bytes()
    assert store.connect(store.address())[0].get_model_version(NAME, "1").source.startswith(moved.as_uri())


@pytest.fixture
def served(repository: Path, gate: Gate) -> Iterator[Gate]:
    """The same with MLflow's server as the store."""
    yield gate
    gate.open()
    server = MlflowClient(f"http://127.0.0.1:{gate.target}")
    for model in server.search_registered_models():
        server.delete_registered_model(model.name)


def test_a_server_holds_the_same(served: Gate):
    """Versions, cards, metrics, datasets and alias."""
    encoder = draw(0)
    train(encoder)
    evaluate(encoder, 0.6)
    server = MlflowClient(f"http://127.0.0.1:{served.target}")
    version = server.get_model_version_by_alias(NAME, "champion")
    assert "60.0 ± 1.0" in version.description
    (metric,) = logged(server, version.run_id)
    assert (metric.key, metric.value, metric.dataset_name) == ("probe_accuracy", 0.6, "photos")
    with encoders.fetched(f"{NAME}@champion") as file:
        assert file.read_bytes() == encoder.read_bytes()


NO_REGISTRY = '{"error_code": "FEATURE_DISABLED", "message": "Model registry functionality is unavailable"}'


def test_a_server_without_a_registry_is_told_once_and_holds_nothing_back(
    served: Gate, capfd: pytest.CaptureFixture[str]
):
    """Numbers, files, the encoder and the run's end arrive, and nothing waits."""
    served.answer(400, NO_REGISTRY, to="model-versions", Content_Type="application/json")
    run_id = train(draw(0))
    (told,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning")]
    assert "Model registry functionality is unavailable (it was refused for good)" in told
    assert outage.pending() == []
    assert MlflowClient(f"http://127.0.0.1:{served.target}").get_run(run_id).info.status == "FINISHED"


def test_a_registry_that_is_away_gets_the_version_later(served: Gate, capfd: pytest.CaptureFixture[str]):
    """What waits is the version alone; make sync sends it."""
    served.answer(503, to="model-versions")
    run_id = train(draw(0))
    assert "warning: MLflow did not take the registered model of it" in capfd.readouterr().err
    server = MlflowClient(f"http://127.0.0.1:{served.target}")
    assert server.get_run(run_id).info.status == "FINISHED"
    (spool,) = outage.pending()
    assert [spool.read(file)["kind"] for file in spool.files()] == ["version"]
    served.open()
    assert [line for line in outage.sync() if "is sent" in line]
    assert [version.run_id for version in server.search_model_versions(f"name = '{NAME}'")] == [run_id]


def test_sending_twice_makes_no_second_version(client: MlflowClient):
    """A kill between the sending and the noting of it sends again."""
    encoder = draw(0)
    run_id = train(encoder)
    registry.register(client, run_id, name=NAME, md5="0" * 32)
    assert list(versions(client)) == [1]


def test_a_picture_goes_to_the_run_that_made_what_it_shows(client: MlflowClient, repository: Path, encoder_file: Path):
    """A run of another store is passed over without a word."""
    made = evaluate(draw(0), 0.6)
    picture = Path(copy(encoder_file, repository / "confusion.png"))
    with runs.run(stage="compare", name="compare", parameters={}, inputs=[]) as run:
        run.log_picture(picture, run_id=made)
        run.log_picture(picture, run_id="0" * 32)
    assert "confusion.png" in [each.path for each in client.list_artifacts(made)]
    assert client.list_artifacts(run.id) == []
