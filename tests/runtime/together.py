"""What each of several processes does in tests/runtime/test_processes.py: `python together.py TASK FOLDER`."""

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.params.names import METHOD, names_in
from exemplar.runtime import processes
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet, load_mean
from exemplar.training import checkpoints as states
from exemplar.training import loop, rows
from exemplar.training.classifier import draw_classifier
from exemplar.training.contract import Epoch, Settings
from exemplar.training.fast import draw_fast
from exemplar.training.loop import fit
from exemplar.training.sampled import Sampled
from stages import cli

sys.path.insert(0, str(Path(__file__).parents[1]))
from small import begun

# 60 samples: batches of 16 leave one of 12, batches of 59 one of a single sample, which two processes cannot share.
BATCHES, EPOCHS = (16, 59), 4
DRAW = {"release": draw_classifier, "fast": draw_fast}
GIVEN = "given"  # where two processes leave the checkpoint of an interrupted training
SAMPLED = {f"{recipe}, sampled": recipe for recipe in DRAW}


def train(
    folder: Path, compute: Compute, *, recipe: str, batch_size: int, checkpoint: Path | None, epochs: int = EPOCHS
) -> list[Epoch]:
    """A training of which so many epochs are drawn."""
    generator, negatives = torch.Generator().manual_seed(0), 2 if recipe in SAMPLED else 3
    draw, places = DRAW[SAMPLED.get(recipe, recipe)], negatives + batch_size if negatives < 3 else 3
    model = draw(parse("8c5-8c5-16f"), places, mean=load_mean(folder), generator=generator)
    if negatives < 3:
        model = Sampled(
            model, 3, negatives=negatives, key=9, generator=generator, compute=compute, checkpoint=checkpoint
        )
    settings = Settings(epochs=EPOCHS, batch_size=batch_size, learning_rate=0.1, momentum=0.9, weight_decay=0.004)
    data = SurrogateSet.load(folder)
    begun = fit(model, data, settings, compute=compute, random_seed=5, label="test", checkpoint=checkpoint)
    return [next(begun) for _ in range(epochs)]


def curves(folder: Path, team: processes.Team, *, recipe: str) -> None:
    """Whole trainings, one that is interrupted, and one that a single process begins and any number ends.

    Every training has a folder of its own, because the checkpoint before the newest lies beside it.
    """
    compute = team.choose(device="cpu", precision="float32")
    begin = partial(train, folder, compute, recipe=recipe)
    go_on = partial(begin, batch_size=16)
    losses = {f"{size}": begin(batch_size=size, checkpoint=None) for size in BATCHES}
    halved, handed = (path if compute.rank == 0 else None for path in checkpoints(folder, compute.processes))
    go_on(checkpoint=halved, epochs=2)
    if halved and compute.processes == 2:
        shutil.copytree(halved.parent, folder / GIVEN)
    losses["halved"] = go_on(checkpoint=halved)
    if compute.processes == 1:
        go_on(checkpoint=handed, epochs=2)
        losses["handed"] = losses["16"]
    else:
        losses["handed"] = go_on(checkpoint=handed)
    if compute.rank == 0:
        curves = {name: [[epoch.loss, epoch.score] for epoch in epochs] for name, epochs in losses.items()}
        (folder / f"curves{compute.processes}.json").write_text(json.dumps(curves))


def given(folder: Path, team: processes.Team, *, path: Path) -> list[list[float]]:
    """Go on from a checkpoint among classes that are drawn, whoever wrote it; the curve."""
    compute = team.choose(device="cpu", precision="float32")
    checkpoint = path if compute.rank == 0 else None
    epochs = train(folder, compute, recipe="release, sampled", batch_size=16, checkpoint=checkpoint)
    return [[epoch.loss, epoch.score] for epoch in epochs]


def be_killed(folder: Path) -> None:
    """Let a fork of each process take part in a whole training, and in one where SIGKILL ends all before a step.

    Of the whole one the copy `left` is kept before that step, and of the killed one the copy `alone`.
    """
    states.SECONDS_BETWEEN, states.SHARE_OF_TIME = 0.0, 1e9
    if (fork := os.fork()) == 0:
        os.environ["TORCHELASTIC_RESTART_COUNT"] = "fork"  # so that it meets the other forks
        with processes.joined() as team:
            compute = team.choose(device="cpu", precision="float32")
            go_on(folder, compute, "whole", lambda: compute.rank or shutil.copytree(folder / "whole", folder / "left"))
            go_on(folder, compute, "killed", lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert os.waitpid(fork, 0)[1] == signal.SIGKILL
    if os.environ["RANK"] == "0":
        shutil.copytree(folder / "killed", folder / "alone")


def go_on(folder: Path, compute: Compute, name: str, act: Callable[[], Any] = int) -> None:
    """A training among classes that are drawn, as far as it is not done; `act` is called before its eighth step."""
    usual, steps = loop.train_step, itertools.count()

    def step(*inputs: Any, **more: Any) -> Any:
        if next(steps) == 7:
            act()
        return usual(*inputs, **more)

    loop.train_step = step
    path = folder / name / "state.pt" if compute.rank == 0 else None
    train(folder, compute, recipe="release, sampled", batch_size=16, checkpoint=path)
    loop.train_step = usual


def tasks(folder: Path, team: processes.Team) -> None:
    """Two epochs of every pretext task, exemplar among them; all numbers that it tells."""
    compute, told = team.choose(device="cpu", precision="float32"), {}
    for name in names_in("methods", having=METHOD):
        epochs = begun(name, SurrogateSet.load(folder), compute).epochs
        told[name] = [list(replace(epoch, samples_per_second=0.0).numbers().values()) for epoch in epochs]
    if compute.rank == 0:
        (folder / f"tasks{compute.processes}.json").write_text(json.dumps(told))


def checkpoints(folder: Path, count: int) -> tuple[Path, Path]:
    """Of the training that `count` processes interrupt, and of the one that one process begins."""
    paths = folder / f"halved{count}" / "state.pt", folder / "handed" / "state.pt"
    for path in paths:
        path.parent.mkdir(exist_ok=True)
    return paths


def main(task: str, folder: Path) -> None:
    if task != "release, sampled":
        rows.SHARE_OF_MEMORY = 0.0  # so that rows are mapped
    if task == "after a kill":
        be_killed(folder)
    with processes.joined() as team:
        if task in (*DRAW, *SAMPLED):
            curves(folder, team, recipe=task)
            return
        if task == GIVEN:
            curve = given(folder, team, path=folder / GIVEN / "state.pt")
            if team.rank == 0:
                (folder / f"{GIVEN}{team.size}.json").write_text(json.dumps(curve))
            return
        if task == "after a kill":
            go_on(folder, team.choose(device="cpu", precision="float32"), "killed")
            return
        if task == "tasks":
            tasks(folder, team)
            return
        compute = team.choose(device="cpu", precision="float32")
        begin = partial(train, folder, compute, recipe="release", batch_size=16, checkpoint=None)
        begin(epochs=1)
        if task == "mistake" and compute.rank == 1:
            raise UserError("process 1 has found a mistake")
        if task == "kill" and compute.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            begin()
        finally:
            (folder / f"ended{compute.rank}").touch()


if __name__ == "__main__":
    torch.set_num_threads(1)
    cli.start(main)
