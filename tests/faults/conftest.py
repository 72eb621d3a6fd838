"""A small repository in which every stage has run, made of files that the library writes."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from reached import Reached
from ruamel.yaml import YAML
from test_pipeline import CHECKOUT, environment

from exemplar.params.load import load_params

if TYPE_CHECKING:
    from exemplar.datasets.base import Labeled
    from exemplar.surrogate.sets import SurrogateSet

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("forking.py")
OUTPUTS = (
    "data/unlabeled",
    "data/labeled/photos",
    "data/seeds.npz",
    "data/surrogate",
    "data/encoders/exemplar.safetensors",
    "data/encoders/pixels.safetensors",
    "results/training/exemplar",
    "results/training/pixels",
    "results/evaluations/probe/photos-exemplar.json",
    "results/evaluations/probe/photos-pixels.json",
    "results/invariance/photos-exemplar.csv",
)


def write_data(folder: Path, labeled: "Labeled", surrogate_set: "SurrogateSet") -> None:
    """What the stages before training write."""
    from exemplar.surrogate import sets
    from exemplar.surrogate.seeds import Seeds

    for name in ("unlabeled", "labeled/photos", "surrogate", "encoders"):
        (folder / "data" / name).mkdir(parents=True)
    np.save(folder / "data/unlabeled/images.npy", labeled.images)
    labeled.save(folder / "data/labeled/photos")
    Seeds(image=np.arange(3), centre=np.full((3, 2), 20.0), side=np.full(3, 32.0)).save(folder / "data/seeds.npz")
    surrogate_set.save(folder / "data/surrogate")
    sets.save_mean(torch.full((3, 32, 32), 0.5), folder / "data/surrogate")


def write_results(folder: Path) -> None:
    """What the stages train, probe and invariance write."""
    import pandas as pd

    from exemplar import invariance
    from exemplar.datasets.evaluation import Evaluation
    from exemplar.io.examples import Examples, save_examples
    from exemplar.models.architecture import parse
    from exemplar.models.initial import draw_encoder
    from exemplar.models.network import Pixels
    from exemplar.models.saved import save_encoder
    from exemplar.training.contract import Epoch
    from exemplar.training.record import save_curve

    generator = torch.Generator().manual_seed(0)
    encoder = draw_encoder(parse("4c5-4c5-8f"), mean=torch.full((3, 32, 32), 0.5), generator=generator)
    save_encoder(encoder, folder / "data/encoders/exemplar.safetensors")
    save_encoder(Pixels(), folder / "data/encoders/pixels.safetensors")
    save_curve([Epoch(1, 2.0, 0.5, 0.4, 0.3, 0.1, 60, 900.0)], folder / "results/training/exemplar")
    save_curve([], folder / "results/training/pixels")
    examples = Examples.of("exemplar", {"shown": np.zeros((2, 3, 32, 32), np.uint8)}, {})
    save_examples([examples], folder / "results/training/exemplar")
    save_examples([], folder / "results/training/pixels")
    record = Evaluation(
        dataset="photos",
        method="exemplar",
        model="4c5-4c5-8f",
        readout="probe",
        accuracy=[0.75, 0.75, 0.75],
        class_accuracy=[0.75, 0.75, 0.75],
        knn_accuracy=[0.75, 0.75, 0.75],
        training_samples=6,
        labels_for_choice=0,
        chosen=[{"C": 0.5}],
        classes=["red", "green", "blue"],
        confusion=[[12, 0, 0], [0, 12, 0], [9, 0, 3]],
        answers=["111111111000"] * 3,
    )
    record.save(folder / "results/evaluations/probe/photos-exemplar.json")
    replace(record, method="pixels", model="pixels").save(folder / "results/evaluations/probe/photos-pixels.json")
    points = {"transformation": "angle_degrees", "magnitude": [0.0, 45.0], "accuracy": [0.75, 0.5]}
    points |= {"accuracy_low": [0.5, 0.25], "accuracy_high": [0.9, 0.75]}
    table = pd.DataFrame(points | {"distance_layer_1": [0.0, 0.5], "distance_pooled": [0.0, 0.5]})
    file = folder / "results/invariance/photos-exemplar.csv"
    invariance.save(table.assign(dataset="photos", method="exemplar"), file)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, labeled: "Labeled", surrogate_set: "SurrogateSet") -> Path:
    """The repository, and in its dvc.lock what DVC would have written down."""
    from exemplar.io import integrity

    folder = tmp_path_factory.mktemp("whole")
    write_data(folder, labeled, surrogate_set)
    write_results(folder)
    outs = [{"path": place, "md5": integrity.dvc_md5(folder / place)} for place in OUTPUTS]
    YAML().dump({"schema": "2.0", "stages": {"all": {"cmd": "true", "outs": outs}}}, folder / "dvc.lock")
    yaml = YAML()
    settings = yaml.load(ROOT / "params.yaml")
    settings["methods"], settings["finetune"]["methods"] = ["exemplar", "pixels"], []
    settings["invariance"]["methods"] = ["exemplar"]
    settings["sources"] = {"photos": settings["sources"]["photos"]}
    settings["probe"] = {"photos": settings["probe"]["photos"]}
    yaml.dump(settings, folder / "params.yaml")
    return folder


@pytest.fixture
def repository(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to break, which is the working directory."""
    folder = tmp_path / "repository"
    shutil.copytree(whole, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    return folder


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Run a stage in this process up to its work, which raises Reached; params.yaml is read once for all."""
    from exemplar.params import load
    from exemplar.surrogate import build, seeds
    from exemplar.tracking import runs
    from stages import compare, invariance, probe, train
    from stages.seeds import cut
    from stages.surrogate import surrogate

    def reached(*_: object, **__: object) -> None:
        raise Reached

    settings = load_params()
    # YAML's lists become tuples, which the types that are checked in tests ask for
    photos = settings.probe["photos"].model_copy(update={"cells": (2,), "cell_weights": (1.0,)})
    tuning = settings.finetune.model_copy(update={"scales": (0.64,)})
    few = settings.seeds.model_copy(update={"count": 30})  # images
    settings = settings.model_copy(update={"probe": {"photos": photos}, "finetune": tuning, "seeds": few})
    monkeypatch.setattr(load, "load_params", lambda: settings)
    for module, name in ((runs, "run"), (seeds, "draw"), (build, "build")):
        monkeypatch.setattr(module, name, reached)
    stages: dict[str, Callable[[], None]] = {
        "seeds": cut,
        "surrogate": surrogate,
        "train": lambda: train.train("exemplar"),
        "probe": lambda: probe.probe("photos", "exemplar"),
        "invariance": lambda: invariance.measure("photos", "exemplar"),
        "compare": compare.compare,
    }
    return lambda stage: stages[stage]()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process that has imported everything and starts jobs as forks."""
    place = tmp_path_factory.mktemp("s") / "s"
    kept = {**environment(), "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen([sys.executable, str(SERVER), str(place)], env=kept) as process:
        while not place.exists():
            assert process.poll() is None
            time.sleep(0.1)
        yield place
        process.kill()
