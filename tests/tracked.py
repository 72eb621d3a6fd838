"""What stages tell MLflow of trainings and evaluations, told without any work."""

from pathlib import Path

import numpy as np
import torch

from exemplar.datasets.evaluation import Evaluation
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.saved import save_encoder
from exemplar.tracking import card, runs

MODEL = "4c5-8f"
NAME = f"exemplar-{MODEL}"
SETTINGS = {
    "model": MODEL,
    "random_seed": 3,
    "unlabeled": "photos",
    "seeds": {"count": 400},
    "surrogate": {"samples": 8},
    "train": {"epochs": 2, "recipe": "fast", "batch_size": 64, "learning_rate": 0.1},
    "compute": {"precision": "float32"},
}
LOCK = """\
stages:
  download:
    outs:
    - {path: data/unlabeled, md5: 0123456789abcdef0123456789abcdef.dir}
    - {path: data/labeled/photos, md5: PHOTOS.dir}
    - {path: data/labeled/stl10, md5: 33333333333333333333333333333333.dir}
"""


def measured_on(images: int) -> None:
    """Let DVC have recorded this content of the labeled images."""
    Path("dvc.lock").write_text(LOCK.replace("PHOTOS", str(images) * 32))


def draw(random_seed: int) -> Path:
    """An encoder of its own for each random seed, saved."""
    generator, path = torch.Generator().manual_seed(random_seed), Path(f"{random_seed}.safetensors")
    save_encoder(draw_encoder(parse(MODEL), mean=torch.full((3, 32, 32), 0.4), generator=generator), path)
    return path


def train(encoder: Path, method: str = "exemplar") -> str:
    """What the stage `train` tells of an encoder; returns the run's id."""
    with runs.run(stage="train", name=f"{method} · train", parameters=SETTINGS, inputs=[]) as run:
        run.log_tags({"method": method, "device": "cpu, an AMD EPYC"})
        run.log_dataset("photos", Path("data/unlabeled"), url=None, context="unlabeled")
        run.log_metrics({"loss": 1.0, "encoder_passes": 3200}, step=1)
        run.log_metrics({card.PASSES: 6400})
        example = np.zeros((1, 3, 36, 36), np.uint8)
        run.log_encoder(encoder, example=example, name=f"{method}-{MODEL}", ranked_on="photos")
    return run.id


def save_record(accuracy: float, **about: str) -> None:
    """The file of an evaluation with one fold and 1,000 test images of two classes."""
    right = round(1000 * accuracy)
    Evaluation(
        **about,
        model=MODEL,
        accuracy=[right / 1000],
        class_accuracy=[right / 1000],
        knn_accuracy=None,
        training_samples=10,
        labels_for_choice=0,
        chosen=[],
        classes=["cat", "dog"],
        confusion=[[right, 1000 - right], [0, 0]],
        answers=["1" * right + "0" * (1000 - right)],
    ).save(Path("record.json"))


def evaluate(encoder: Path, accuracy: float, *, dataset: str = "photos", readout: str = "probe") -> str:
    """What an evaluation of an encoder tells; returns the run's id."""
    with runs.run(stage=readout, name=f"exemplar · {readout} · {dataset}", parameters={}, inputs=[]) as run:
        url = None if dataset == "photos" else "http://user:hunter2@ai.stanford.edu/stl10.tar.gz?token=1"
        run.log_dataset(dataset, Path("data/labeled", dataset), url=url, context="training and test")
        steps = [(0, {"fold.accuracy": accuracy}), (0, {"accuracy": accuracy, "accuracy_std": 0.01})]
        about = {"dataset": dataset, "method": "exemplar", "readout": readout}
        save_record(accuracy, **about)
        run.log_evaluation(Path("record.json"), encoder=encoder, steps=steps, ranked_on="photos", **about)
    return run.id
