"""A training among 200,000 classes, some of which are drawn in a step, ends with the same bytes after kills."""

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exemplar.io.unfinished import work_folder
from exemplar.methods.exemplar import untrained
from exemplar.models.architecture import parse
from exemplar.runtime.device import choose
from exemplar.surrogate import build
from exemplar.surrogate.ranges import RELEASE
from exemplar.surrogate.seeds import Seeds
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training import checkpoints, rows
from exemplar.training.contract import Settings, TrainInputs
from exemplar.training.loop import fit

KILLS = int(os.environ.get("KILLS", "20"))
CLASSES, WINDOWS = 200_000, 100
LONGEST_SECONDS = 5.0  # before a kill; an undisturbed training takes half a minute of a core
SETTINGS = Settings(epochs=1, batch_size=512, learning_rate=0.03, momentum=0.9, weight_decay=0.004, negatives=1024)


def many_classes() -> SurrogateSet:
    """A sample for each of 200,000 classes, cut out of a hundred windows."""
    images = np.random.default_rng(0).integers(0, 256, (WINDOWS, 3, 40, 40), np.uint8)
    seeds = Seeds(image=np.arange(WINDOWS), centre=np.full((WINDOWS, 2), 20.0), side=np.full(WINDOWS, 32.0))
    built, _ = build.build(images, seeds, samples=1, ranges=RELEASE, random_seed=0)
    seed = torch.arange(CLASSES) % WINDOWS
    by_seed = {name: getattr(built, name)[seed] for name in ("window_index", "centre", "side")}
    return replace(built, label=torch.arange(CLASSES), **by_seed)


@pytest.mark.soak
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("recipe", ["release", "fast"])
def test_kills_of_a_training_change_no_byte(recipe: str, tmp_path: Path):
    """KILLS that met it at work; each time it goes on from its last state, which is some steps old at most.

    Every second of the trainings that are killed maps its rows from a file, of which nothing is left, as of a state
    that was being written.
    """
    dice, met, number = random.Random(recipe), 0, 0
    assert train(recipe, tmp_path / "whole", seconds=0) == 0
    while met < KILLS:
        number += 1
        folder = tmp_path / str(number)
        while met < KILLS and train(recipe, folder, seconds=dice.uniform(0.1, LONGEST_SECONDS)) == -signal.SIGKILL:
            met += 1
        assert train(recipe, folder, seconds=0) == 0
        files = sorted(path.name.split("-")[0] for path in folder.glob(".checkpoints/train-*/*"))
        assert files == ["earlier.pt", *["rows"] * 4, "state.pt"]
        assert (folder / "encoder.pt").read_bytes() == (tmp_path / "whole" / "encoder.pt").read_bytes()
        print(f"{recipe}: {met} kills, {number} trainings ended bit-equal", file=sys.stderr, flush=True)


def train(recipe: str, folder: Path, *, seconds: float) -> int:
    """Begin or go on, and be killed after so long a time at work, where it is not 0; the status."""
    folder.mkdir(exist_ok=True)
    words = [sys.executable, __file__, recipe, str(folder), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "DVC_ROOT": str(folder)}
    return subprocess.run(words, env=environment, check=False).returncode


def main() -> None:
    """Train with a state every fifth of a second, however long one takes."""
    stack, recipe, folder, seconds = ExitStack(), sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    checkpoints.SECONDS_BETWEEN, checkpoints.SHARE_OF_TIME = 0.2, 1.0
    if folder.name.isdigit() and int(folder.name) % 2:
        rows.SHARE_OF_MEMORY = 0.0
    compute, data = choose(device="cpu", precision="float32"), many_classes()
    checkpoint = stack.enter_context(work_folder("train", "exemplar", settings={}, inputs=[])) / "state.pt"
    learner = untrained(
        TrainInputs(
            architecture=parse("4c5-4c5-8f"),
            surrogate=data,
            mean=torch.full((3, 32, 32), 0.5),
            images=data.windows.numpy(),
            options={},
            settings=SETTINGS,
            recipe=recipe,
            random_seed=0,
            compute=compute,
            checkpoint=checkpoint,
        )
    )
    if seconds:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    list(fit(learner, data, SETTINGS, compute=compute, random_seed=0, label=recipe, checkpoint=checkpoint))
    torch.save(learner.finish().state_dict(), folder / "encoder.pt")
    os._exit(0)  # a timer that did not come to kill it


if __name__ == "__main__":
    main()
