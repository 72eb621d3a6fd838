"""What each of several processes does in tests/runtime/test_processes.py: `python together.py TASK FOLDER`."""

import json
import os
import signal
from pathlib import Path

import torch

from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder, draw_head
from exemplar.runtime import processes
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet, load_mean
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Epoch, Settings
from exemplar.training.loop import fit
from stages import cli

# 60 samples: batches of 16 leave one of 12, batches of 59 one of a single sample, which two processes cannot share.
BATCHES, EPOCHS = (16, 59), 4


def train(
    folder: Path, compute: Compute, *, batch_size: int, checkpoint: Path | None, epochs: int = EPOCHS
) -> list[Epoch]:
    """A training whose weights are left in the folder by process 0; fewer epochs are drawn than it has."""
    generator = torch.Generator().manual_seed(0)
    encoder = draw_encoder(parse("8c5-8c5-16f"), mean=load_mean(folder), generator=generator)
    method = Classifier(encoder, draw_head(encoder.width, 3, generator=generator))
    settings = Settings(epochs=EPOCHS, batch_size=batch_size, learning_rate=0.1, momentum=0.9, weight_decay=0.004)
    data = SurrogateSet.load(folder)
    begun = fit(method, data, settings, compute=compute, random_seed=5, label="test", checkpoint=checkpoint)
    return [next(begun) for _ in range(epochs)]


def curves(folder: Path, team: processes.Team) -> None:
    """Whole trainings, one that is interrupted, and one that goes on from the checkpoint of a single process."""
    compute = team.choose(device="cpu", precision="float32")
    found = {}
    for batch_size in BATCHES:
        found[f"{batch_size}"] = train(folder, compute, batch_size=batch_size, checkpoint=None)
    for name in ("halved", "single"):
        state = folder / f"{name}.pt" if compute.rank == 0 else None
        if name == "halved":
            train(folder, compute, batch_size=16, checkpoint=state, epochs=2)
        found[name] = train(folder, compute, batch_size=16, checkpoint=state)
    if compute.rank == 0:
        losses = {name: [[epoch.loss, epoch.accuracy] for epoch in epochs] for name, epochs in found.items()}
        (folder / f"curves{compute.processes}.json").write_text(json.dumps(losses))


def main(task: str, folder: Path) -> None:
    with processes.joined() as team:
        if task == "curves":
            curves(folder, team)
            return
        compute = team.choose(device="cpu", precision="float32")
        train(folder, compute, batch_size=16, checkpoint=None, epochs=1)
        if task == "mistake" and compute.rank == 1:
            raise UserError("process 1 has found a mistake")
        if task == "kill" and compute.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            train(folder, compute, batch_size=16, checkpoint=None)
        finally:
            (folder / f"ended{compute.rank}").touch()


if __name__ == "__main__":
    torch.set_num_threads(1)
    cli.start(main)
