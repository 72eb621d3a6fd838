"""MLflow's share of a training of params.yaml's size."""

import os
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks import measure, training
from benchmarks.measure import Rows, Works, in_process, limit
from exemplar.models import saved
from exemplar.params.load import load_params
from exemplar.runtime import device
from exemplar.training.contract import Epoch


def works(*, quick: bool, repeats: int) -> Works:
    """One row."""
    yield partial(share, quick=quick, repeats=repeats)


def share(*, quick: bool, repeats: int) -> Rows:
    """All that MLflow does in a fresh process, over that and the time of the samples at the measured rate."""
    settings = load_params()
    compute = device.choose(device="cpu", precision=measure.precision())
    data, method = training.data_of(2 if quick else 40), training.draw_method(settings.model)
    training.train(method, data, compute)
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        in_process(track, folder, settings.train.epochs)  # makes the store, which is done once in a repository's life
        for _ in range(repeats):
            rate = training.train(method, data, compute).samples_per_second
            work = settings.train.epochs * settings.seeds.count * settings.surrogate.samples / rate
            spent, _ = in_process(track, folder, settings.train.epochs)
            shares.append(spent / (spent + work))
    yield limit("MLflow's share of a training, with its start", shares, most=0.01, unit="share")


def track(folder: str, epochs: int) -> float:
    """The seconds of a training's run in MLflow without the training: opened, told every epoch, given the encoder."""
    os.environ |= {"DVC_ROOT": folder, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    encoder = training.draw_method(training.SMALL).encoder
    path, example = Path(folder) / "encoder.safetensors", torch.zeros(1, 3, 96, 96, dtype=torch.uint8).numpy()
    saved.save_encoder(encoder, path)
    record = Epoch(
        epoch=1,
        loss=1.0,
        score=0.5,
        held_out_score=0.4,
        chance=0.1,
        learning_rate=0.01,
        encoder_passes=1000,
        samples_per_second=1000.0,
    )
    numbers = load_params().model_dump(include={"model", "random_seed", "train", "compute"})
    started = time.perf_counter()
    from exemplar.tracking import runs

    with runs.run(stage="train", name="benchmark", parameters=numbers, inputs=[]) as run:
        for epoch in range(epochs):
            run.log_metrics(record.numbers(), step=epoch)
        run.log_encoder(path, example=example, name="exemplar", ranked_on="photos")
        run.log_file(path, folder="checkpoints")
    return time.perf_counter() - started
