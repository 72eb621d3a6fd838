"""The paper's figures with ours beside its numbers, from `dvc exp show` to the picture."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image
from test_studies import RELEASE, experiment, without

from exemplar.errors import UserError
from exemplar.report import figures, published
from exemplar.report.experiments import Experiment, read
from stages import figures as stage

CHECKOUT = Path(published.__file__).parents[2]


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """The curves of a panel by their name in the legend."""
    handles, labels = axes.get_legend_handles_labels()
    drawn = [handle[0] if isinstance(handle, tuple) else handle for handle in handles]
    return {
        label: (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for label, line in zip(labels, drawn, strict=True)
        if hasattr(line, "get_xdata")
    }


def on(dataset: str, made: Experiment, *, random: float | None = None) -> Experiment:
    """The same experiment, measured on another dataset, with or without untrained filters."""
    accuracy = {(dataset, "exemplar"): made.accuracy["stl10", "exemplar"]}
    return replace(made, accuracy=accuracy | ({(dataset, "random"): (random, 0.01)} if random else {}))


def test_without_experiments_there_are_no_figures():
    """None stands for a figure that is not drawn."""
    assert published.draw([]) == {"Figure 3": None, "Figure 4": None, "Figure 5": None}
    assert published.draw([experiment()]) == {"Figure 3": None, "Figure 4": None, "Figure 5": None}


def test_figure_3_has_our_curve_the_papers_and_random_filters():
    """In percent; the paper's random filters are there where its figure has them."""
    ours = [on("stl10", experiment(0.6 + number / 1e5, seeds__count=number), random=0.5) for number in (2000, 50)]
    figure = published.draw(ours)["Figure 3"]
    assert figure is not None
    (axes,) = figure.axes
    drawn = lines(axes)
    assert axes.get_title(loc="left") == "stl10: 64c5-64c5-128f, seeds from stl10"
    assert drawn["here"] == ([50, 2000], pytest.approx([60.05, 62]))
    assert drawn["the paper"] == ([1000, 2000, 4000, 8000], [64.1, 65.1, 66.7, 67.1])
    assert drawn["random filters, here"][1] == pytest.approx([50, 50])
    assert drawn["random filters, the paper"][1] == pytest.approx([49.9, 49.9])


def test_a_dataset_that_the_figure_lacks_is_shown_beside_the_papers():
    """There is a panel for each dataset, and the legend says whose curve it is."""
    ours = [on(name, experiment(seeds__count=number)) for number in (8, 16) for name in ("stl10", "photos")]
    figure = published.draw(ours)["Figure 3"]
    assert figure is not None
    assert [list(lines(axes)) for axes in figure.axes] == [
        ["random filters, the paper", "here", "the paper"],
        ["here", "the paper on stl10"],
    ]


def test_figure_4_has_equal_colours_for_equal_numbers_of_classes():
    """Ours and the paper's with 2,000 classes look alike but for the line."""
    ours = [experiment(seeds__count=2000, surrogate__samples=samples) for samples in (1, 2, 4)]
    figure = published.draw(ours)["Figure 4"]
    assert figure is not None
    (axes,) = figure.axes
    handles, labels = axes.get_legend_handles_labels()
    colours = {
        label: handle[0].get_color() for label, handle in zip(labels, handles, strict=True) if "classes" in label
    }
    assert set(colours) == {f"the paper, {number},000 classes" for number in (1, 2, 4)} | {"here, 2,000 classes"}
    assert colours["here, 2,000 classes"] == colours["the paper, 2,000 classes"]
    assert len(set(colours.values())) == 3


def test_figure_5_is_the_change_in_points():
    """A bar for each condition in the paper's order, its number beside, and what is not in the paper below."""
    asked = {("rotation", "color"): 0.55, ("color", "contrast"): 0.45, ("rotation",): 0.61}
    ours = [on("stl10", experiment(0.6), random=0.5)]
    figure = published.draw([*ours, *(without(*groups, accuracy=level) for groups, level in asked.items())])["Figure 5"]
    assert figure is not None
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "without rotation",
        "without color+contrast",
        "without rotation+color",
    ]
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([1, -15, -5])
    drawn = lines(axes)
    assert drawn["the paper"][0] == pytest.approx([-0.8, -12.0, np.nan], nan_ok=True)
    assert drawn["random filters, here"][0] == pytest.approx([-10, -10])


def test_the_same_experiments_make_the_same_file():
    """And a title says how many random seeds a point is the mean of."""
    ours = [experiment(seeds__count=number, random_seed=seed) for number in (50, 100) for seed in (0, 1, 2)]
    first, second = (published.draw(ours)["Figure 3"] for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.axes[0].get_title(loc="left").endswith("seeds from stl10, 3 random seeds")
    assert figures.png(first) == figures.png(second)


PIPELINE = """
stages:
  compare:
    cmd: python stage.py
    deps: [stage.py]
    params: [seeds]
    outs: [results/invariance]
    metrics: [results/metrics.json]
"""
STAGE = """
import json
from pathlib import Path
count = int(Path("params.yaml").read_text().rpartition("count: ")[2])
Path("results/invariance").mkdir(parents=True, exist_ok=True)
Path("results/invariance/stl10-exemplar.csv").write_text(f"transformation,magnitude,accuracy\\nangle_degrees,0,{count}\\n")
numbers = {"accuracy": 0.5 + count / 1000, "std": 0.01}
Path("results/metrics.json").write_text(json.dumps({"stl10": {"exemplar": numbers, "random": numbers}}))
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose pipeline is one quick stage, and the working directory is there."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        monkeypatch.delenv(name)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "nobody@localhost")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rest = {name: value for name, value in RELEASE.items() if name in ("model", "unlabeled", "random_seed")}
    (folder / "params.yaml").write_text(
        json.dumps(rest)[1:-1].replace(", ", "\n").replace('"', "") + "\nseeds:\n  count: 0\n"
    )
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "stage.py").write_text(STAGE)
    (folder / ".gitignore").write_text("/results/\n")
    for words in ("git init -q", "dvc init -q", "git add .", "git commit -qm pipeline"):
        subprocess.run(words.split(), check=True, capture_output=True)
    return folder


def draw() -> "subprocess.CompletedProcess[str]":
    """`make figures`, but for the set-up."""
    return subprocess.run([sys.executable, "-m", "stages.figures"], capture_output=True, text=True, check=False)


def test_figures_are_drawn_from_what_dvc_shows(repository: Path):
    """A line for each figure says where it is, or what makes the experiments that it lacks; git sees nothing of it."""
    for number in (8, 16):
        subprocess.run(["dvc", "exp", "run", "-S", f"seeds.count={number}"], check=True, capture_output=True)
    subprocess.run(["git", "checkout", "-q", "params.yaml"], check=True)
    done = draw()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Figure 3: results/published/figure3.png",
        "Figure 4: not drawn, no experiments for it; runs/figure4.sh makes them",
        "Figure 5: not drawn, no experiments for it; runs/figure5.sh makes them",
        "Figure 6: not drawn, no experiments for it; runs/figure6.sh makes them",
    ]
    Image.open(io.BytesIO((repository / "results/published/figure3.png").read_bytes())).load()
    table = (repository / "results/published/experiments.csv").read_text()
    assert table.startswith("Experiment,")
    measured = {each.settings["seeds.count"]: stage.invariance("stl10", each.revision) for each in read(table)}
    assert {count: rows["accuracy"].tolist() for count, rows in measured.items()} == {8: [8], 16: [16]}
    with pytest.raises(UserError, match=r"cifar10-exemplar\.csv of the experiment HEAD cannot be read .*run it again"):
        stage.invariance("cifar10", "HEAD")
    assert subprocess.run(["git", "status", "--short"], capture_output=True, text=True).stdout == "?? dvc.lock\n"


def test_outside_of_a_repository_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """DVC's own words are quoted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    done = draw()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: dvc exp show failed: ERROR: you are not inside of a DVC repository")
