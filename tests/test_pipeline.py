"""The whole chain at toy size, in a copy of this repository, as a user runs it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

import exemplar
from exemplar.io.sources import digest
from exemplar.models.saved import load_encoder
from exemplar.tracking.serving import FeatureFunction

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CHECKOUT = Path(exemplar.__path__[0]).parent
METHODS = ["exemplar", "random"]
ROWS, TITLES = [*METHODS, "exemplar-finetuned"], [*METHODS, "exemplar, fine-tuned"]
TOY: dict[str, Any] = {
    "model": "4c5-4c5-8f",
    "methods": METHODS,
    "seeds": {"count": 8},
    "surrogate": {"samples": 4},
    "train": {"epochs": 2, "batch_size": 16},
    "finetune": {
        "methods": ["exemplar"],
        "crops_per_image": 1,
        "scales": [0.35],
        "choices": [
            {"epochs": 1, "learning_rate": 0.005, "augmentation": "none"},
            {"epochs": 2, "learning_rate": 0.005, "augmentation": "geometry_and_colour"},
        ],
    },
    "probe": {"photos": {"C_draws": 2, "side": 40}},
    "invariance": {"methods": ["exemplar"], "num_images": 8},
}
# Each a change of params.yaml and what the one line must say.
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"model": "64x5"}, "'64x5' is no layer; expected"),
    ({"model": "64c5-"}, "model '64c5-': a hyphen stands at its end, and no layer follows"),
    ({"model": "0c5-8f"}, "'0c5' has a 0 where a number begins; expected"),
    ({"model": "64c4-8f"}, "'64c4' has filters of even side 4"),
    ({"methods": ["exemplar", "simclr"]}, "'simclr': is unknown; expected one of "),
    ({"datasets": ["fotos"]}, "'fotos': is unknown; expected one of"),
    ({"unlabeled": "fotos"}, "'fotos': is unknown; expected one of"),
    ({"seeds": {"count": 0}}, "seeds.count 0: "),
    ({"seeds": {"count": "many"}}, "seeds.count 'many': "),
    ({"train": {"epoch": 3}}, "train.epoch is no known key (its value is 3); did you mean train.epochs?"),
    ({"train": None}, "train"),
    ({"transformation": {"angle_degrees": [20.0, -20.0]}}, "angle_degrees [20.0, -20.0]: is upside down"),
    ({"transformation": {"shift": [0.0, 0.1]}}, "shift"),
]
pytestmark = [
    pytest.mark.timeout(900),  # twelve stages, of which each imports torch or mlflow
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]


def environment() -> dict[str, str]:
    """That of a user who has set nothing up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "MLFLOW_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    who = {f"GIT_{role}_{what}": "nobody@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **who, "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


class Copy:
    """A copy of the repository in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.params = folder, folder / "params.yaml"
        for name in ("exemplar", "stages"):
            shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(CHECKOUT / ".dvc" / "plots", folder / ".dvc" / "plots")
        for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
            shutil.copy(CHECKOUT / name, folder / name)
        self.change(TOY)
        for words in ("init -q", "add .", "commit -qm copy"):
            self.call("git", *words.split(), check=True)

    def call(self, *words: str, check: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run a program in the copy."""
        return subprocess.run(words, cwd=self.folder, env=environment(), capture_output=True, text=True, check=check)

    def repro(self, *targets: str) -> "subprocess.CompletedProcess[str]":
        """`dvc repro`."""
        return self.call(sys.executable, "-m", "dvc", "repro", *targets)

    def change(self, changes: dict[str, Any]) -> None:
        """Change numbers in params.yaml; a section that becomes None is taken out."""
        yaml = YAML()
        content = yaml.load(self.params)
        merge(content, changes)
        yaml.dump(content, self.params)

    def runs(self) -> "list[Run]":
        """All runs in the copy's own store."""
        client = self.client()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments))

    def training(self) -> "Run":
        """The run that trained the exemplar encoder."""
        (found,) = (run for run in self.runs() if run.data.tags["mlflow.runName"] == "exemplar · train")
        return found

    def client(self) -> "MlflowClient":
        """Somebody who looks into that store."""
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def outputs(self) -> dict[str, str]:
        """The md5 of every output, as DVC wrote it down."""
        stages = YAML(typ="safe").load(self.folder / "dvc.lock")["stages"].values()
        return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}

    def results(self) -> dict[str, bytes]:
        """Every file of the results with its content."""
        files = (path for path in (self.folder / "results").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def merge(content: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put changes into nested sections."""
    for key, value in changes.items():
        if value is None:
            del content[key]
        elif isinstance(value, dict):
            merge(content[key], value)
        else:
            content[key] = value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy in which `dvc repro` has succeeded."""
    copy = Copy(tmp_path_factory.mktemp("a user's repository"))
    done = copy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


@pytest.fixture
def copy(made: Copy) -> Iterator[Copy]:
    """That copy, whose params.yaml is put back after the test."""
    before = made.params.read_bytes()
    yield made
    made.params.write_bytes(before)


def told(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line that says what was wrong; no traceback stands anywhere."""
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    return line


def test_the_results_have_a_row_per_method(made: Copy) -> None:
    """The table, DVC's metrics and the page say the same; a row is an encoder and what reads it."""
    table = pd.read_csv(made.folder / "results" / "comparison.csv")
    metrics = json.loads((made.folder / "results" / "metrics.json").read_text())
    page = (made.folder / "results" / "report.html").read_text()
    assert table["method"].tolist() == TITLES
    assert table["accuracy_mean"].between(0.05, 1).all()
    assert (table["folds"] == 3).all()
    assert {name: row["accuracy"] for name, row in metrics["photos"].items()} == pytest.approx(
        dict(zip(ROWS, table["accuracy_mean"], strict=True))
    )
    assert all(title in page for title in TITLES)
    assert (made.folder / "results" / "figures" / "overview.png").stat().st_size > 10_000


def test_outputs_are_functions_of_their_inputs(made: Copy, tmp_path: Path) -> None:
    """A repository in another folder has, later, the same md5 of every output, and a page that is its own."""
    other = Copy(tmp_path / "another user's repository")
    done = other.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    assert other.outputs() == made.outputs()
    assert not [name for name in made.outputs() if "report" in name or "mlflow" in name]
    current = (sys.executable, "-m", "exemplar.report.stamp", "results")
    assert other.call(*current).returncode == 0
    other.change({"train": {"epochs": 1}})
    assert other.call(*current).returncode == 1, "the page shows other settings than params.yaml"


def test_every_training_row_and_comparison_has_its_run(made: Copy) -> None:
    """All finished; the summary holds all parameters and accuracies, the page, and the runs that it rests on."""
    runs = made.runs()
    assert {run.info.status for run in runs} == {"FINISHED"}
    stages = ["compare", "finetune", "invariance", "probe", "probe", "train", "train"]
    assert sorted(run.data.tags["stage"] for run in runs) == stages
    (summary,) = (run for run in runs if run.data.tags["stage"] == "compare")
    shown = summary.info.run_id
    for name, value in {"model": "4c5-4c5-8f", "seeds.count": "8", "train.epochs": "2"}.items():
        assert summary.data.params[name] == value
    table = pd.read_csv(made.folder / "results" / "comparison.csv")
    told = [summary.data.metrics[f"photos.{row}.accuracy"] for row in ROWS]
    assert told == pytest.approx(table["accuracy_mean"].tolist())
    assert "report.html" in {file.path for file in made.client().list_artifacts(shown)}
    known = {run.info.run_id for run in runs}
    rests_on = [f"{stage}.photos.exemplar" for stage in ("probe", "finetune", "invariance")]
    rests_on += ["train.exemplar", "train.random", "probe.photos.random"]
    assert {summary.data.tags[name] for name in rests_on} == known - {shown}


def test_the_trained_encoder_is_a_registered_model_and_runs_have_their_datasets_and_pictures(made: Copy) -> None:
    """Its card tells what its evaluations measured; random filters are no model."""
    client, table = made.client(), pd.read_csv(made.folder / "results" / "comparison.csv").set_index("method")
    (model,) = client.search_registered_models()
    assert model.name == "exemplar-4c5-4c5-8f"
    card = client.get_model_version_by_alias(model.name, "champion").description
    for row in ("exemplar", "exemplar, fine-tuned"):
        assert f"{100 * table.loc[row, 'accuracy_mean']:.1f} ± " in card
    assert "64 images through the encoder" in card
    images = {name: made.outputs()[f"data/{name}"][:12] for name in ("unlabeled", "labeled/photos")}
    for run in made.runs():
        stage = run.data.tags["stage"]
        read = [each.dataset.digest for each in run.inputs.dataset_inputs]
        expected = {"train": [images["unlabeled"]], "compare": []}
        assert read == expected.get(stage, [images["labeled/photos"]])
        seen = {file.path for file in client.list_artifacts(run.info.run_id)}
        pictures = {"train": {"filters.png", "samples.png"}, "probe": {"confusion.png"}, "finetune": {"confusion.png"}}
        assert seen >= pictures.get(stage, set())


def test_the_invariance_of_an_encoder_is_a_table_curves_and_a_picture(made: Copy) -> None:
    """What stands in the file stands in MLflow and, drawn, in the page; an untransformed image has not moved."""
    (run,) = (run for run in made.runs() if run.data.tags["stage"] == "invariance")
    assert (run.data.tags["dataset"], run.data.tags["method"]) == ("photos", "exemplar")
    table = pd.read_csv(made.folder / "results" / "invariance" / "photos-exemplar.csv")
    turned = table[table["transformation"] == "angle_degrees"]
    assert turned.loc[turned["magnitude"] == 0, "distance_pooled"].tolist() == [0]
    assert 0 < turned["distance_layer_3"].max() < 2
    for name in ("magnitude", "accuracy", "accuracy_low", "distance_layer_3", "distance_pooled"):
        points = made.client().get_metric_history(run.info.run_id, f"angle_degrees.{name}")
        assert [point.value for point in points] == pytest.approx(turned[name].tolist())
    assert (made.folder / "results" / "figures" / "invariance-photos.png").stat().st_size > 10_000
    assert '<h2 id="invariance">' in (made.folder / "results" / "report.html").read_text()


@pytest.fixture(scope="module")
def drawn(made: Copy) -> str:
    """The page that `dvc plots show` writes."""
    made.call(sys.executable, "-m", "dvc", "plots", "show", "-q", "-o", "drawn", check=True)
    page = (made.folder / "drawn" / "index.html").read_text()
    shutil.rmtree(made.folder / "drawn")
    return page


def test_dvc_draws_without_a_network(drawn: str) -> None:
    """The page holds the library that its charts need, and names no other address to load anything from."""
    assert not re.findall(r"""(?:src|href)=["']?https?:""", drawn)
    assert drawn.count("<script>!function") == 3  # Vega, Vega-Lite and what embeds them


def test_dvc_draws_accuracies_with_their_intervals(drawn: str, made: Copy) -> None:
    """A bar per row of the comparison, with what its interval needs."""
    (spec,) = re.findall(r"var spec = (\{.*yOffset.*\});", drawn)
    values = json.loads(spec)["data"]["values"]
    rows = pd.read_csv(made.folder / "results" / "comparison.csv")
    assert [value["method"] for value in values] == rows["method"].tolist()
    assert [float(value["accuracy_margin"]) for value in values] == pytest.approx(rows["accuracy_margin"].tolist())


def test_dvc_draws_the_curves_of_invariance(drawn: str, made: Copy) -> None:
    """`dvc plots show` has a panel per transformation, above accuracies and below distances."""
    (spec,) = re.findall(r"var spec = (\{.*facet.*\});", drawn)
    panels = json.loads(spec)
    table = pd.read_csv(made.folder / "results" / "invariance" / "photos-exemplar.csv")
    assert len(panels["data"]["values"]) == 2 * len(table)
    assert {point["field"] for point in panels["data"]["values"]} == {"accuracy", "distance_pooled"}
    assert panels["spec"]["encoding"]["x"]["field"] == "magnitude"


def test_a_training_leaves_its_curve(made: Copy) -> None:
    """Loss, score and learning rate for each epoch, in MLflow with the speed; and no checkpoint lies about."""
    run = made.training()
    curve = pd.read_csv(made.folder / "results" / "training" / "exemplar" / "curve.csv")
    for name in ("loss", "score", "learning_rate", "samples_per_second"):
        points = made.client().get_metric_history(run.info.run_id, name)
        assert [point.step for point in points] == [1, 2]
        assert name == "samples_per_second" or [point.value for point in points] == pytest.approx(curve[name].tolist())
    left = {entry.name.partition("-")[0] for entry in (made.folder / ".checkpoints").iterdir()}
    assert left == {"locks", "compare"}, "the last stage's, which holds the id of its run, goes with the next command"


LOAD = """
import sys, mlflow.pyfunc, numpy as np
np.save("features.npy", mlflow.pyfunc.load_model(sys.argv[1]).predict(np.load("images.npy")))
"""


def test_the_logged_encoder_turns_images_into_features(made: Copy, tmp_path: Path) -> None:
    """`mlflow.pyfunc` loads it by its id, and it answers what the encoder's file answers."""
    run = made.training()
    logged, *_ = made.client().search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 48), np.uint8)
    np.save(tmp_path / "images.npy", images)
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{made.folder}/mlflow.db"}
    subprocess.run(
        [sys.executable, "-c", LOAD, f"models:/{logged.model_id}"],
        cwd=tmp_path,
        env=environment() | store,
        check=True,
        capture_output=True,
    )
    here = FeatureFunction(load_encoder(made.folder / "data" / "encoders" / "exemplar.safetensors")).predict(images)
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), here, rtol=1e-5)


def test_nothing_runs_twice(made: Copy) -> None:
    """A second `dvc repro` finds everything up to date, and git sees nothing but DVC's own lock file."""
    done = made.repro()
    assert "up to date" in done.stdout
    assert "Running" not in done.stdout
    assert made.call("git", "status", "--short").stdout == "?? dvc.lock\n"


# A file of the repository, and the stages that DVC runs again when it changes.
TOUCHED: list[tuple[str, set[str]]] = [
    ("exemplar/report/page.py", {"compare"}),
    ("exemplar/report/page.html.jinja", {"compare"}),
    ("exemplar/probe/svm.py", {"probe@photos-exemplar", "probe@photos-random", "invariance@photos-exemplar"}),
    ("exemplar/finetune.py", {"finetune@photos-exemplar"}),
    ("exemplar/methods/random.py", {"check", "train@random"}),
    ("exemplar/datasets/folder.py", set()),
    ("exemplar/tracking/runs.py", set()),
    ("exemplar/use/loaded.py", set()),
    ("exemplar/__main__.py", set()),
    ("exemplar/io/atomic.py", set()),
    ("exemplar/runtime/progress.py", set()),
    ("exemplar/doctor.py", set()),
    ("exemplar/training/__pycache__/loop.cpython-399.pyc", set()),
]


@pytest.mark.parametrize(("file", "stages"), TOUCHED, ids=[file for file, _ in TOUCHED])
def test_a_change_of_code_runs_again_what_it_changes(made: Copy, file: str, stages: set[str]) -> None:
    """`dvc status` names these stages and no other; a file that Python compiles is no change."""
    path = made.folder / file
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((before or b"") + b"# one line more\n")
    try:
        status = json.loads(made.call(sys.executable, "-m", "dvc", "status", "--json", check=True).stdout)
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    assert set(status) == stages


@pytest.mark.parametrize(("changes", "expected"), MISTAKES, ids=[str(changes) for changes, _ in MISTAKES])
def test_a_mistake_in_the_parameters_is_one_line(copy: Copy, changes: dict[str, Any], expected: str) -> None:
    """It names the file, quotes the value and says what was expected; this is the first stage of the pipeline."""
    copy.change(changes)
    done = copy.call(sys.executable, "-m", "stages.check")
    assert expected in told(done)
    assert "params.yaml" in told(done)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"datasets": ["fotos"]}, "'fotos': is unknown"),
        ({"seeds": {"scales": [0.1]}}, "seeds.scales [0.1] make images of 288 x 288 smaller than seeds"),
    ],
    ids=str,
)
def test_a_failing_pipeline_leaves_the_earlier_comparison(copy: Copy, changes: dict[str, Any], expected: str) -> None:
    """One line says why; what an earlier run found is still there, and no run in MLflow seems to go on."""
    before = copy.results()
    copy.change(changes)
    assert expected in told(copy.repro())
    after = copy.results()
    assert {name: after.get(name) for name in before} == before
    assert {run.info.status for run in copy.runs()} <= {"FINISHED", "FAILED"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A tree of 24 pictures of two classes: with six a step, no unit of the toy network may answer any."""
    noise = np.random.default_rng(0)
    for number, name in enumerate(("red", "green")):
        (tmp_path / name).mkdir()
        for place in range(12):
            image = noise.integers(0, 128, (96, 96, 3), np.uint8)
            image[:, :, number] += 127
            Image.fromarray(image).save(tmp_path / name / f"{place}.png")
    return tmp_path


def test_clusters_of_seeds_are_one_more_row(copy: Copy) -> None:
    """Nothing but the new encoder is trained; every other output stays as it was, and the page shows some clusters."""
    before = copy.outputs()
    copy.change({"methods": [*METHODS, "clustered"], "tasks": {"clustered": {"cluster_size": 4}}})
    done = copy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}
    assert ran == {"check", "train@clustered", "probe@photos-clustered", "compare"}
    after, renewed = copy.outputs(), ("data/parts", "results/comparison.csv", "results/figures", "results/metrics.json")
    assert {name: md5 for name, md5 in before.items() if after[name] != md5}.keys() <= {*renewed}
    curve = pd.read_csv(copy.folder / "results" / "training" / "clustered" / "curve.csv")
    assert curve["chance"].tolist() == [1 / 8, 1 / 8, 1 / 2, 1 / 2]
    assert "seeds of its cluster" in (copy.folder / "results" / "report.html").read_text()


def test_another_dataset_is_measured_without_another_training(copy: Copy, pictures: Path) -> None:
    """The encoder that is there meets it, frozen and fine-tuned, and the results show it below the first."""
    options = {"side": 96, "train_per_class": 8, "folds": 2}
    source = {"url": str(pictures), "md5": digest(pictures), "options": options}
    probe = {"side": 40, "C_draws": 2}
    copy.change({"datasets": ["photos", "folder"], "sources": {"folder": source}, "probe": {"folder": probe}})
    done = copy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}
    measured = {f"{stage}@folder-exemplar" for stage in ("probe", "finetune", "invariance")} | {"probe@folder-random"}
    assert ran == {"check", "download@folder", *measured, "compare"}
    table = pd.read_csv(copy.folder / "results" / "comparison.csv")
    rows = [(dataset, title) for dataset in ("photos", "folder") for title in TITLES]
    assert list(zip(table["dataset"], table["method"], strict=True)) == rows
    assert table["folds"].tolist() == [3, 3, 3, 2, 2, 2]
    metrics = json.loads((copy.folder / "results" / "metrics.json").read_text())
    assert {name: list(numbers) for name, numbers in metrics.items()} == {"photos": ROWS, "folder": ROWS}
    page = (copy.folder / "results" / "report.html").read_text()
    assert all(f"{title} on {dataset}" in page for dataset, title in rows)
