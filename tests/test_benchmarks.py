"""The benchmark's own arithmetic, and that its peers compute what the library computes."""

import json
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import __main__ as program
from benchmarks import launches, material, measure, probe, rendering, rendering_peers, svms, table, tasks
from benchmarks.measure import NotTheSameError, Row
from exemplar.params.load import load_params
from exemplar.runtime.device import Compute

PAIR = Row("pair", 30.0, 10.0, 3.0, 2.5, "samples/s", (2.0, 4.0))
LIMIT = Row("limit", 0.2, None, None, 0.1, "s", (0.1, 0.3))


def test_what_launches_is_counted():
    """Operations that compute, and neither views nor memory; around a replay there is a twentieth of a step at most."""
    ones = torch.ones(2, 3)
    assert launches.asked(lambda: torch.empty(2).view(1, 2)) == 0
    assert launches.asked(lambda: (ones.T + 1).sum()) == 2
    found = launches.counted("fast", torch.float32)
    assert found["a step around its replay"] < found["a step"] / 20
    assert found["rendering"] + found["the optimizer"] < found["a step"]


def test_both_sides_run_in_turn():
    """Each once before the clock runs, then A B A B: a machine that slows down slows both."""
    order: list[str] = []
    seconds = measure.in_turn(lambda: order.append("a"), lambda: order.append("b"), repeats=3)
    assert "".join(order) == "abababab"
    assert [len(column) for column in seconds] == [3, 3]


def test_a_ratio_above_1_is_in_our_favour():
    """More units a second, or fewer seconds."""
    fast, slow = lambda: None, lambda: torch.rand(1000, 1000).sum()
    rate = measure.rates("r", fast, slow, amount=(1, 1), unit="runs/s", target=1, repeats=3)
    duration = measure.durations("d", fast, slow, target=1, repeats=3)
    for row in (rate, duration):
        assert row.ratio is not None
        assert row.ratio > 1
        assert row.reached
    assert rate.ours > rate.theirs
    assert duration.ours < duration.theirs


def test_scaled_times_count_as_often_as_their_runs():
    """A peer that runs a tenth of the problems is charged ten times."""
    once = measure.durations("d", lambda: None, lambda: sum(range(100_000)), target=1, repeats=5)
    tenfold = measure.durations("d", lambda: None, lambda: sum(range(100_000)), times=(1, 1000), target=1, repeats=5)
    assert tenfold.theirs > 50 * once.theirs


def test_the_target_is_a_least_ratio_or_a_limit():
    """With a peer the ratio must reach it, without one the number must stay below."""
    assert PAIR.reached
    assert not LIMIT.reached
    assert table.line(PAIR) == "| pair | 30 | 10 | 3 | ≥ 2.5 x | samples/s | 2 to 4 | yes |"
    assert table.line(LIMIT) == "| limit | 0.2 | – | – | ≤ 0.1 s | s | 0.1 to 0.3 | no |"


def test_saved_rows_stay_until_they_are_measured_again(tmp_path: Path):
    """Named groups replace their own rows, each row stands under its conditions; a run of all starts the files anew."""
    program.save([PAIR, LIMIT], "then", anew=True, folder=tmp_path)
    program.save([Row("pair", 50.0, 10.0, 5.0, 2.5, "samples/s", (4.0, 6.0))], "now", anew=False, folder=tmp_path)
    saved = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [(row["name"], row["ours"]) for row in saved] == [("limit", 0.2), ("pair", 50.0)]
    assert {"name", "ours", "theirs", "ratio", "target", "unit"} <= set(saved[0])
    written = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    shown = {name: written.index(table.line(table.row(saved[place]))) for place, name in ((0, "then"), (1, "now"))}
    assert written.index("then") < shown["then"] < written.index("now") < shown["now"]
    program.save([PAIR], "later", anew=True, folder=tmp_path)
    assert len(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))) == 1


def test_a_row_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Those of the same group that follow are measured, those before the failure are kept, and the failure is told."""

    def failing() -> measure.Rows:
        yield PAIR
        raise RuntimeError("no such device")

    group = SimpleNamespace(works=lambda **_: iter([failing, lambda: iter([LIMIT])]))
    monkeypatch.setitem(sys.modules, "benchmarks.broken", group)
    lacking: list[str] = []
    assert list(program.measure("broken", lacking, quick=True, repeats=1)) == [PAIR, LIMIT]
    assert lacking == ["broken: RuntimeError: no such device; a row is missing"]
    assert lacking[0] in capsys.readouterr().out


def test_sides_that_differ_are_not_compared():
    """There is no row then, but an error that names what differs."""
    measure.check_same("samples", True)
    with pytest.raises(NotTheSameError, match="samples"):
        measure.check_same("samples", False)


def test_work_in_a_process_of_its_own_answers_with_its_memory():
    """A fresh process has used at least what its imports take."""
    found, gigabytes = measure.in_process(abs, -3)
    assert found == 3
    assert 0.01 < gigabytes < 5


def test_unknown_rows_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """With the names that there are."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "speed"])
    with pytest.raises(SystemExit):
        program.main()
    assert "expected some of rendering, training" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cost", "million_curve", "scale", "stages"])
def test_a_program_of_its_own_says_what_it_does_before_it_does_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """`--help` measures nothing and prints no table."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "--help"])
    monkeypatch.setattr("benchmarks.million.Steps", None)  # a measurement would fail
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m benchmarks.{name} [-h]")
    assert f"`python -m benchmarks.{name}" in " ".join(printed.split())
    assert "|" not in printed


def test_every_group_is_a_file():
    """A name is a file."""
    for name in program.GROUPS:
        assert find_spec(f"benchmarks.{name}") is not None


@pytest.mark.parametrize("peer", ["kornia", "skimage"])
def test_peers_make_our_samples(peer: str):
    """Two independent implementations of the whole family of transformations agree with ours, sample by sample."""
    pytest.importorskip(peer, reason="needs the dependency group bench")
    data = material.surrogate_set(4, 6)
    indices = torch.arange(len(data))
    make = {"kornia": rendering_peers.kornia_samples, "skimage": rendering_peers.single_samples}[peer]
    ours, theirs = data.render(indices)[0], make(data, indices)
    assert rendering.agrees(ours, theirs)
    assert not rendering.agrees(ours, theirs.roll(1, 0))


def test_linear_svc_stops_at_our_optimum():
    """The same objective at its minimum; another C has another one."""
    problem = svms.draw(60, 100, 4, costs=[0.1, 1.0], intercept_scaling=2.0)
    probe.check_optimum(problem, (0, 3), (0, 1))
    ours = problem.solve()
    with pytest.raises(NotTheSameError):
        probe.check_near(problem, ours[0, 0], ours[1, 0], label=0, cost=1.0)


def test_images_on_disk_are_those_in_memory(tmp_path: Path):
    """A file of images as datasets have them, without two alike among the first thousands."""
    material.write_images(tmp_path / "images.npy", 1500)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert images.shape == (1500, 3, material.SIDE, material.SIDE)
    assert not np.array_equal(images[0], images[1000])
    assert images.std() > 20


def test_every_pretext_task_has_a_row():
    """A step of it is compared with as many encoder passes as it says that it takes."""
    names = [name for name, _ in tasks.tasks()]
    # A step of `clustered` is one of `exemplar`, which the group training measures.
    assert names == sorted(set(load_params().tasks) - {"clustered", "exemplar", "random", "pixels"})
    (row,) = tasks.against_passes(
        "rotation", dict(tasks.tasks())["rotation"], Compute(torch.device("cpu"), torch.float32), steps=1, repeats=1
    )
    assert row.name == "a step of rotation, against its 4 encoder passes a row"
    assert row.ratio is not None
