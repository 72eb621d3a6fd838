"""Kills at random points of the whole pipeline: the same commands again end as if nothing had happened.

`make soak KILLS=200` runs them. The points are drawn as shares of a stage's own CPU time, so that
a busy machine spreads them as an idle one does.
"""

import os
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jobs import Job
from ruamel.yaml import YAML
from test_pipeline import CHECKOUT, TOY, environment, merge

if TYPE_CHECKING:
    from mlflow import MlflowClient

EPOCHS = 4
STAGES = [
    "check",
    "download unlabeled photos",
    "download labeled photos",
    "seeds",
    "surrogate",
    "train exemplar",
    "probe photos exemplar",
    "finetune photos exemplar",
    "invariance photos exemplar",
    "compare",
]
# Where the work and the store are, and so where most can go wrong.
WEIGHTS = {"train": 6, "probe": 2, "finetune": 2, "invariance": 2, "compare": 3}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
KILLS = int(os.environ.get("KILLS", "200"))
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")


class Toy:
    """A folder with small parameters in which the stages run, one by one."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.server, self.folder, self.log = server, folder, folder / "log.txt"
        folder.mkdir()
        yaml = YAML()
        content = yaml.load(CHECKOUT / "params.yaml")
        small = {"methods": ["exemplar"], "train": {"epochs": EPOCHS, "batch_size": 4}}
        merge(content, TOY)
        merge(content, small)
        yaml.dump(content, folder / "params.yaml")

    def start(self, stage: str) -> Job:
        """Begin a stage."""
        known = {**environment(), "DVC_ROOT": str(self.folder), "DVC_STAGE": stage, "EXEMPLAR_THREADS": "1"}
        return Job(self.server, stage.split(), self.folder, environment=known, log=self.log)

    def finish(self, stage: str) -> float:
        """Run a stage to its end, and note it as DVC does; the CPU time that it took."""
        job = self.start(stage)
        status = job.wait()
        assert status == 0, f"{stage}: {self.log.read_text()[-3000:]}"
        (self.folder / "dvc.lock").write_text("stages: {}\n")
        return job.cpu_seconds

    def visible(self) -> dict[str, bytes]:
        """What stages made, by path, but for what is hidden because it is not yet whole."""
        files = (path for top in ("data", "results") for path in (self.folder / top).rglob("*") if path.is_file())
        named = {path.relative_to(self.folder): path for path in files}
        return {
            name.as_posix(): path.read_bytes()
            for name, path in named.items()
            if not any(part.startswith(".") for part in name.parts)
        }

    def client(self) -> "MlflowClient":
        """Somebody who looks into the store."""
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")


def is_bit_equal(name: str) -> bool:
    """Whether a file is the same however it came about: all are, but for the page, which names runs and seconds."""
    return name != "results/report.html"


@pytest.fixture(scope="module")
def whole(server: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, float]]:
    """What an uninterrupted pipeline makes, and the CPU time of each stage."""
    toy = Toy(server, tmp_path_factory.mktemp("whole") / "toy")
    costs = {stage: toy.finish(stage) for stage in STAGES}
    print(f"CPU seconds of each stage: {costs}", file=sys.stderr, flush=True)
    return {name: content for name, content in toy.visible().items() if is_bit_equal(name)}, costs


def check_files(toy: Toy, whole: dict[str, bytes]) -> None:
    """What is visible is whole: bit-equal where that can be, and never empty."""
    for name, content in toy.visible().items():
        assert content, name
        assert not is_bit_equal(name) or content == whole[name], name


def check_store(toy: Toy) -> None:
    """One finished run for each piece of work, and each epoch once."""
    client = toy.client()
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    counted = Counter((run.data.tags["stage"], run.info.run_name) for run in runs)
    assert set(counted.values()) == {1}, counted
    assert sorted(stage for stage, _ in counted) == ["compare", "finetune", "invariance", "probe", "train"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    (training,) = (run for run in runs if run.data.tags["stage"] == "train")
    for name in ("loss", "score", "learning_rate", "samples_per_second"):
        steps = [point.step for point in client.get_metric_history(training.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1)), name


def survive(toy: Toy, whole: tuple[dict[str, bytes], dict[str, float]], *, kills: int, dice: random.Random) -> int:
    """Run the pipeline with so many kills; how many of them met a living process."""
    contents, costs = whole
    weights = [WEIGHTS.get(stage.split()[0], 1) for stage in STAGES]
    planned = Counter(dice.choices(STAGES, weights, k=kills))
    met = 0
    for stage in STAGES:
        for _ in range(planned[stage]):
            if dice.random() < 0.5:  # as DVC does before it runs a stage
                remove_outputs(toy, stage)
            after = dice.random() * costs[stage] * 1.1
            met += toy.start(stage).kill(dice.choice(SIGNALS), after_cpu_seconds=after) != 0
            check_files(toy, contents)
        toy.finish(stage)
        check_files(toy, contents)
    assert {name for name in toy.visible() if is_bit_equal(name)} == set(contents)
    check_store(toy)
    left = {path.name.partition("-")[0] for path in (toy.folder / ".checkpoints").iterdir()}
    assert left == {"locks", "compare"}
    return met


def remove_outputs(toy: Toy, stage: str) -> None:
    """What DVC removes before it runs a stage."""
    outputs = {
        "check": ["data/checked", "data/parts"],
        "download unlabeled photos": ["data/unlabeled"],
        "download labeled photos": ["data/labeled"],
        "seeds": ["data/seeds.npz"],
        "surrogate": ["data/surrogate"],
        "train exemplar": ["data/encoders", "results/training"],
        "probe photos exemplar": ["results/evaluations/probe"],
        "finetune photos exemplar": ["results/evaluations/finetune"],
        "invariance photos exemplar": ["results/invariance"],
        "compare": [f"results/{name}" for name in ("comparison.csv", "metrics.json", "figures")],
    }
    for name in outputs[stage]:
        path = toy.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.mark.soak
@pytest.mark.timeout(36_000)
def test_many_kills(server: Path, whole: tuple[dict[str, bytes], dict[str, float]], tmp_path: Path) -> None:
    """KILLS that met a process at work, 40 in each pipeline."""
    met, seed = 0, 0
    while met < KILLS:
        seed += 1
        folder = tmp_path / f"toy {seed}"
        met += survive(Toy(server, folder), whole, kills=min(40, KILLS - met + 4), dice=random.Random(seed))
        print(f"{met} kills, {seed} pipelines ended bit-equal", file=sys.stderr, flush=True)
        shutil.rmtree(folder)
