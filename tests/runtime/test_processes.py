"""Several processes train as one does, and end together."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from exemplar.runtime import processes
from exemplar.runtime.collective import share
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet, measure_mean, save_mean
from exemplar.training.checkpoints import load_state

PROGRAM = Path(__file__).parent / "together.py"
# Processes on the CPU, started as the stage starts one for each GPU.
LAUNCH = "import sys; from exemplar.runtime import processes; processes.start(sys.argv[2:], count=int(sys.argv[1]))"


@pytest.fixture
def folder(surrogate_set: SurrogateSet, tmp_path: Path) -> Path:
    """60 samples of three classes, and room for what the processes leave."""
    surrogate_set.save(tmp_path)
    save_mean(measure_mean(surrogate_set, device=torch.device("cpu")), tmp_path)
    return tmp_path


def together(task: str, folder: Path, *, count: int = 2) -> "subprocess.CompletedProcess[str]":
    """What several processes say."""
    environment = {**os.environ, "PYTHONPATH": str(Path(processes.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", LAUNCH, str(count), str(PROGRAM), task, str(folder)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 59])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_every_row_of_a_batch_counts_once(count: int, processes: int) -> None:
    """In order, however many processes share it; each has at least one row to compute."""
    counted = []
    for rank in range(processes):
        part = share(count, Compute(torch.device("cpu"), torch.float32, rank, processes))
        numbers = list(range(count))[part.rows]
        assert numbers
        assert part.counted in (0, len(numbers))
        counted += numbers if part.counted else []
    assert counted == list(range(count))


@pytest.mark.parametrize(
    ("recipe", "rounding"), [("release", 1e-5), ("fast", 1e-4), ("release, sampled", 1e-5), ("fast, sampled", 1e-4)]
)
def test_two_processes_learn_what_one_does(folder: Path, recipe: str, rounding: float) -> None:
    """The same curve but for rounding, with uneven batches, interrupted, and from the checkpoint of one process.

    Where classes are drawn each owns the rows of some, in a file, and their checkpoint is one for any number of them.
    """
    sys.path.insert(0, str(PROGRAM.parent))
    from together import curves, given

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    curves(folder, processes.Team(0, 1, None), recipe=recipe)
    torch.set_num_threads(threads)
    done = together(recipe, folder)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((folder / f"curves{count}.json").read_text()) for count in (1, 2))
    assert one["16"] == one["halved"]
    assert two["16"] == two["halved"]
    for name in two:
        for (loss, accuracy), (other, same_accuracy) in zip(one[name], two[name], strict=True):
            assert other == pytest.approx(loss, abs=rounding)
            assert same_accuracy == accuracy
    if recipe == "release, sampled":
        shutil.copytree(folder / "given", folder / "given to one")
        alone = given(folder, processes.Team(0, 1, None), path=folder / "given to one" / "state.pt")
        done = together("given", folder, count=3)
        assert done.returncode == 0, done.stderr
        for curve in (alone, json.loads((folder / "given3.json").read_text())):
            assert np.array(curve) == pytest.approx(np.array(one["16"]), abs=rounding)


def test_killed_processes_go_on_as_if_they_had_not_been(folder: Path) -> None:
    """Two that are killed go on as two, bit for bit, and as one, as from a state that nobody was killed after."""
    sys.path.insert(0, str(PROGRAM.parent))
    from together import go_on

    done = together("after a kill", folder)
    assert done.returncode == 0, done.stderr
    assert "goes on after" in done.stderr
    assert same(folder / "whole", folder / "killed")
    for name in ("left", "alone"):
        go_on(folder, Compute(torch.device("cpu"), torch.float32), name)
    assert same(folder / "left", folder / "alone")
    assert not same(folder / "left", folder / "whole")


def same(*folders: Path) -> bool:
    """Whether the newest states of two trainings are equal bit for bit."""
    return all(torch.equal(*pair) for pair in zip(*(newest(folder) for folder in folders), strict=True))


def newest(folder: Path) -> list[torch.Tensor]:
    """Weights, momenta and the rows of all classes, whoever owned them."""
    content = load_state(folder / "state.pt")
    momenta = [kept["momentum_buffer"] for kept in content["optimizer"]["state"].values()]
    parts = sorted(content["parts"], key=lambda part: (part["table"], part["first"]))
    rows = np.concatenate([np.load(folder / part["name"]).ravel() for part in parts])
    return [*content["model"].values(), *momenta, torch.from_numpy(rows)]


def test_two_processes_learn_every_task_as_one_does(folder: Path) -> None:
    """Nothing that a task draws depends on who computes which row."""
    sys.path.insert(0, str(PROGRAM.parent))
    from together import tasks

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tasks(folder, processes.Team(0, 1, None))
    torch.set_num_threads(threads)
    done = together("tasks", folder)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((folder / f"tasks{count}.json").read_text()) for count in (1, 2))
    assert one.keys() == two.keys()
    for name, epochs in one.items():
        assert np.array(two[name]) == pytest.approx(np.array(epochs), rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("mistake", "error: process 1 has found a mistake"),
        ("kill", "error: another process of this training was killed or does not answer; the same command goes on"),
    ],
)
def test_when_one_process_fails_all_end_and_one_tells_why(folder: Path, task: str, line: str) -> None:
    """No traceback, no second line, no hang; the others leave through their exceptions."""
    started = time.monotonic()
    done = together(task, folder)
    assert time.monotonic() - started < processes.SECONDS_FOR_AN_ANSWER / 2
    assert done.returncode != 0
    assert [said for said in done.stderr.splitlines() if not said.startswith("test: ")] == [line]
    assert (folder / "ended0").exists()


def test_a_process_alone_is_a_team_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under `torchrun --nproc-per-node 1`; and who wants the CPU gets no processes that were not asked for."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("EXEMPLAR_THREADS", str(torch.get_num_threads()))
    with processes.joined() as alone:
        assert (alone.rank, alone.size) == (0, 1)
        compute = alone.choose(device="cpu", precision="float32")
    assert (compute.rank, compute.processes) == (0, 1)
    assert not processes.spread(["-c", "raise SystemExit(1)"], device="cpu")
