"""The paper's figures with ours beside its numbers, from what `dvc exp show --csv` prints to the picture."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from exemplar.errors import UserError
from exemplar.report import figures, published, published_figures
from exemplar.report.published import FIGURE_3, FIGURE_4
from exemplar.surrogate import ranges
from stages import figures as stage

CHECKOUT = Path(published.__file__).parents[2]
CLOCK = count()
# An experiment as DVC prints it: a result, then settings, then what is neither.
RELEASE = {
    "State": "",
    "stl10.exemplar.accuracy": 0.6,
    "stl10.exemplar.std": 0.01,
    "mlflow_run": "77",
    "model": "64c5-64c5-128f",
    "random_seed": 0,
    "unlabeled": "stl10",
    "datasets": ["stl10"],
    "seeds.count": 1000,
    "surrogate.samples": 150,
    "train.epochs": 160,
    "train.recipe": "release",
    "transformation.family": "release",
    **{f"transformation.{name}": value for name, value in asdict(ranges.RELEASE).items()},
    "probe.stl10.C_range": [0.0002, 0.2],
    "probe.photos.C_range": [0.0001, 10.0],
    "finetune.epochs": 2,
    "finetune.methods": ["random", "exemplar"],
    "invariance.num_images": 100,
    "invariance.methods": ["exemplar", "random"],
    "data/seeds.npz": "5d41402a",
}
NO_RESULT = {"stl10.exemplar.accuracy": "", "stl10.exemplar.std": ""}
# Words of paper.csv.
TURNED = {"rotation up to 20 degrees", "rotation up to 40 degrees", "without movement"}


def experiment(accuracy: float = 0.6, **changes):
    """One that differs from the release in these settings; double underscores stand for dots."""
    return changed({"stl10.exemplar.accuracy": accuracy}, **changes)


def changed(cells, **changes):
    """One that differs from the release in these cells of the table."""
    number = next(CLOCK)
    named = {"Experiment": f"exp-{number}", "rev": f"rev-{number}", "Created": f"2026-11-22T{number:08}"}
    return named | RELEASE | cells | {name.replace("__", "."): value for name, value in changes.items()}


def without(*groups: str, accuracy: float = 0.5):
    """One in which groups of transformations are switched off."""
    return changed({"stl10.exemplar.accuracy": accuracy} | dict(published.without(*groups)))


def null(row):
    """The same experiment, as params.yaml says it: null is the value of the family."""
    stated = {name for name, value in row.items() if name.startswith("transf") and value == RELEASE[name]}
    return row | dict.fromkeys(stated, "") | {"transformation.family": "release"}


def printed(rows) -> str:
    """What DVC prints of these experiments."""
    names = dict.fromkeys(name for row in [{"Experiment": "", "rev": "", "Created": ""}, *rows] for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: list(value) if isinstance(value, tuple) else value for name, value in row.items()})
    return text.getvalue()


def load(*rows) -> pd.DataFrame:
    """These experiments, as they are read."""
    return published.load(printed(rows))


def pool(*rows, **options) -> pd.DataFrame:
    """The points that these experiments are on STL-10."""
    return published.pool(load(*rows), dataset="stl10", **options)


def test_an_experiment_is_its_accuracies_and_its_settings():
    """Numbers, lists and words are read as such; other results, files and MLflow's ids are no settings."""
    (row,) = load(experiment()).to_dict("records")
    assert row["stl10.exemplar.accuracy"] == 0.6
    assert (row["seeds.count"], row["train.recipe"]) == (1000, "release")
    assert row["transformation.angle_degrees"] == (-20, 20)
    assert row["invariance.methods"] == ("exemplar", "random")
    assert not {"State", "datasets", "mlflow_run", "data/seeds.npz"} & set(row)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"Experiment": ""}, id="a commit"),
        pytest.param(NO_RESULT | {"State": "Queued"}, id="a queued experiment"),
        pytest.param(dict.fromkeys(NO_RESULT, "!"), id="one whose results cannot be read"),
    ],
)
def test_only_experiments_with_a_result_count(change):
    """A commit may hold a params.yaml that was changed after its results were made."""
    assert load(changed(change), changed({"Experiment": "b"}))["Experiment"].tolist() == ["b"]


@pytest.mark.parametrize("text", ["", "\n", "ERROR: you are not inside of a DVC repository\n", "a,b\n1,2\n"])
def test_anything_else_is_refused(text: str):
    """The line says what was expected."""
    with pytest.raises(UserError, match="expected what `dvc exp show --csv` prints"):
        published.load(text)


def test_random_seeds_are_pooled():
    """The mean of the means, the root mean square of the spreads over the folds, and the spread over random seeds."""
    other = {"random_seed": 1, "rev": "77", "stl10.exemplar.accuracy": 0.7, "stl10.exemplar.std": 0.03}
    (point,) = pool(changed({"rev": "b0e3dad"}), changed(other)).to_dict("records")
    assert (point["accuracy"], point["revisions"]) == (pytest.approx(0.65), ("b0e3dad", "77"))
    assert point["fold_std"] == pytest.approx(((0.03**2 + 0.01**2) / 2) ** 0.5)
    assert point["seed_std"] == pytest.approx(0.05 * 2**0.5)
    assert point["random_seeds"] == 2
    assert "random_seed" not in point


def test_of_two_experiments_with_the_same_settings_the_newest_counts():
    """Whatever their order in the table."""
    older, newer = experiment(), experiment(0.8)
    for rows in ((older, newer), (newer, older)):
        (point,) = pool(*rows).to_dict("records")
        assert (point["accuracy"], point["revisions"], point["created"]) == (0.8, (newer["rev"],), newer["Created"])


@pytest.mark.parametrize(
    ("key", "value", "points"),
    [
        ("model", "4c5-8f", 2),
        ("train.recipe", "modern", 2),
        ("probe.stl10.C_range", [0.1, 1.0], 2),
        ("transformation.angle_degrees", [0, 0], 2),
        ("transformation.family", "paper", 1),
        ("probe.photos.C_range", [0.1, 1.0], 1),
        ("finetune.epochs", 9, 1),
        ("datasets", ["photos", "stl10"], 1),
        ("transformation.angle_degrees", [-20, 20], 1),
        ("transformation.angle_degrees", "", 1),
        ("transformation.scale_factor", [0.70710678, 1.41421356], 1),
    ],
)
def test_points_differ_where_something_differs_that_counts(key: str, value: object, points: int):
    """Other rows of the comparison and other datasets change nothing; a range is what it is, however it is stated."""
    assert len(pool(experiment(), changed({key: value}))) == points


def test_fine_tuning_decides_for_rows_that_are_fine_tuned():
    """And the probe decides for those that are probed."""
    measured = {
        f"stl10.{row}.{name}": 0.5 for row in ("supervised", "exemplar-finetuned") for name in ("accuracy", "std")
    }
    others = [
        changed(measured),
        changed(measured, finetune__epochs=9),
        changed(measured, probe__stl10__C_range=[1.0, 2.0]),
    ]
    assert [len(pool(*others, row=row)) for row in ("supervised", "exemplar-finetuned", "exemplar")] == [2, 2, 2]
    assert len(pool(*others[:2])) == 1
    assert len(pool(others[0], others[2], row="supervised")) == 1


def test_a_free_setting_keeps_nothing_apart():
    """It may follow the axis of a figure, and may be a whole section."""
    rows = experiment(), experiment(train__epochs=8)
    assert len(pool(*rows)) == 2
    assert "train.epochs" not in pool(*rows, free=("train.epochs",))
    assert len(pool(*rows, free=("seeds.", "train."))) == 1


def places(rows, study: published.Study) -> list[tuple[int, int]]:
    """The classes and samples of the points of a figure."""
    points = published.curves(load(*rows), study, dataset="stl10")
    return sorted(zip(points["seeds.count"], points["surrogate.samples"], strict=True)) if len(points) else []


def test_figure_3_is_the_longest_row_of_class_counts():
    """An experiment with another network, or with another number of samples, is no part of it."""
    chosen = [experiment(seeds__count=number) for number in (50, 100, 250)]
    others = [experiment(model="4c5-8f", seeds__count=500), experiment(surrogate__samples=9, seeds__count=1000)]
    assert places([*chosen, *others], FIGURE_3) == [(50, 150), (100, 150), (250, 150)]


def test_of_two_rows_of_equal_length_the_newest_is_drawn():
    """It is more likely to be what the user looks for."""
    rows = [experiment(seeds__count=number, train__recipe=recipe) for recipe in "ab" for number in (50, 100)]
    for order in (rows, rows[::-1]):
        assert set(published.curves(load(*order), FIGURE_3, dataset="stl10")["train.recipe"]) == {"b"}


def test_figure_4_has_a_curve_for_each_number_of_classes():
    """Epochs may follow the samples; a number of classes with one point only has no curve."""
    chosen = [
        experiment(seeds__count=classes, surrogate__samples=samples, train__epochs=24_000 // samples)
        for classes in (1000, 2000)
        for samples in (1, 150)
    ]
    figure_3 = [experiment(seeds__count=classes) for classes in (50, 100, 250, 500, 1000, 2000)]
    assert places([*chosen, *figure_3], FIGURE_4) == [(1000, 1), (1000, 150), (2000, 1), (2000, 150)]


def test_an_ablation_is_called_what_the_paper_calls_it():
    """Whether params.yaml states the ranges or leaves them to the family."""
    asked = [("color",), ("contrast",), ("rotation", "scaling", "translation"), ("color", "contrast")]
    rows = [*(without(*groups) for groups in asked), without(*published.NEUTRAL), experiment()]
    for stated in (rows, [null(row) for row in rows]):
        assert set(published.ablations(load(*stated), dataset="stl10").index) == {
            "",
            "without color",
            "without contrast",
            "without rotation+scaling+translation",
            "without color+contrast",
            "without all",
        }


def test_an_ablation_differs_in_nothing_else():
    """A wider rotation, or half a contrast, is another experiment; without the whole network there is no figure."""
    half = experiment(transformation__saturation_power=(1, 1), transformation__saturation_factor=(1, 1))
    wider = experiment(transformation__hue_offset_turns=(0, 0), transformation__angle_degrees=(-40.0, 40.0))
    rows = [without("color"), half, wider]
    assert list(published.ablations(load(experiment(), *rows), dataset="stl10").index) == ["", "without color"]
    assert published.ablations(load(*rows[:1], without("contrast")), dataset="stl10").empty


ROTATED = [
    changed({"rev": "release"}),
    changed({"rev": "wide"}, transformation__angle_degrees=(-40.0, 40.0)),
    without("rotation", "scaling", "translation") | {"rev": "still"},
]
CONTRAST = {
    f"transformation__{which}_{what}": bounds
    for which in ("saturation", "value")
    for what, bounds in (("power", (0.0625, 16)), ("factor", (0.5, 2)), ("offset", (-0.2, 0.2)))
}


def nets(*rows):
    """The networks of Figure 6, by what is done to the images."""
    return published.invariances(load(*rows), dataset="stl10")


def test_networks_have_the_papers_names():
    """Ranges are told apart part by part, whether params.yaml states them or leaves them to the family."""
    rows = [*ROTATED, without("color"), without("contrast"), experiment(**CONTRAST)]
    for stated in (rows, [null(row) for row in rows]):
        assert {kind: set(points.index) for kind, points in nets(*stated).items()} == {
            "angle_degrees": TURNED,
            "hue_offset_turns": {"color up to 0.1 turns", "without color"},
            "contrast_factor": {"contrast (2, 0.5, 0.1)", "contrast (4, 1, 0.2)", "without contrast"},
        }


def test_a_network_that_differs_otherwise_is_no_part_of_figure_6():
    """Neither one that was trained for longer nor one whose invariance was not measured; one alone is no figure."""
    assert nets(ROTATED[0], ROTATED[1] | {"train.epochs": 9}) == {}
    assert nets(ROTATED[0], ROTATED[1] | {"invariance.methods": ["random"]}) == {}
    assert nets(ROTATED[0], ROTATED[1] | {"transformation.stretch_fraction": 0.5}) == {}
    assert set(nets(*ROTATED[:2])) == {"angle_degrees"}


def load_invariance(dataset: str, revision: str) -> pd.DataFrame:
    """What the stage wrote: here every accuracy says which network it is of."""
    level = {"release": 0.6, "wide": 0.5, "still": 0.4}[revision]
    rows = [
        {"transformation": name, "magnitude": magnitude, "accuracy": level + magnitude / 1000}
        for name in ("angle_degrees", "hue_offset_turns")
        for magnitude in (-45.0, 0.0, 45.0)
    ]
    return pd.DataFrame(rows).assign(dataset=dataset)


def draw(name: str, *rows) -> Figure:
    """One of the figures."""
    figure = published_figures.draw(load(*rows), load_invariance)[name]
    assert figure is not None
    return figure


def lines(axes: Axes):
    """The curves of a panel by their name in the legend."""
    handles, labels = axes.get_legend_handles_labels()
    drawn = [handle[0] if isinstance(handle, tuple) else handle for handle in handles]
    return {
        label: (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for label, line in zip(labels, drawn, strict=True)
        if hasattr(line, "get_xdata")
    }


def on(dataset: str, row, *, random: float | None = None):
    """The same experiment, measured on another dataset, with or without untrained filters."""
    measured = {f"{dataset}.exemplar.accuracy": row["stl10.exemplar.accuracy"], f"{dataset}.exemplar.std": 0.01}
    untrained = {f"{dataset}.random.accuracy": random, f"{dataset}.random.std": 0.01} if random else {}
    return row | NO_RESULT | measured | untrained


def test_without_experiments_there_are_no_figures():
    """None stands for a figure that is not drawn; one experiment alone makes none."""
    nothing = dict.fromkeys(f"Figure {number}" for number in (3, 4, 5, 6))
    for rows in ([], [experiment()]):
        assert published_figures.draw(load(*rows), load_invariance) == nothing


def test_figure_3_has_our_curve_the_papers_and_random_filters():
    """In percent; the paper's random filters are there where its figure has them."""
    ours = [on("stl10", experiment(0.6 + number / 1e5, seeds__count=number), random=0.5) for number in (2000, 50)]
    (axes,) = draw("Figure 3", *ours).axes
    drawn = lines(axes)
    assert axes.get_title(loc="left") == "stl10: 64c5-64c5-128f, seeds from stl10"
    assert drawn["here"] == ([50, 2000], pytest.approx([60.05, 62]))
    assert drawn["the paper"] == ([1000, 2000, 4000, 8000], [64.1, 65.1, 66.7, 67.1])
    assert drawn["random filters, here"][1] == pytest.approx([50, 50])
    assert drawn["random filters, the paper"][1] == pytest.approx([49.9, 49.9])


def test_a_dataset_that_the_figure_lacks_is_shown_beside_the_papers():
    """There is a panel for each dataset, and the legend says whose curve it is."""
    ours = [on(name, experiment(seeds__count=number)) for number in (8, 16) for name in ("stl10", "photos")]
    assert [list(lines(axes)) for axes in draw("Figure 3", *ours).axes] == [
        ["random filters, the paper", "here", "the paper"],
        ["here", "the paper on stl10"],
    ]


def test_figure_4_has_equal_colours_for_equal_numbers_of_classes():
    """Ours and the paper's with 2,000 classes look alike but for the line."""
    ours = [experiment(seeds__count=2000, surrogate__samples=samples) for samples in (1, 2, 4)]
    (axes,) = draw("Figure 4", *ours).axes
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
    (axes,) = draw("Figure 5", *ours, *(without(*groups, accuracy=level) for groups, level in asked.items())).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "without rotation",
        "without color+contrast",
        "without rotation+color",
    ]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1, -15, -5])
    drawn = lines(axes)
    assert drawn["the paper"][0] == pytest.approx([-0.8, -12.0, np.nan], nan_ok=True)
    assert drawn["random filters, here"][0] == pytest.approx([-10, -10])


def test_figure_6_is_in_percent_beside_the_papers_marks():
    """Equal networks have equal colours; a mark with a line is known as a range only, and holds in either direction."""
    (axes,) = draw("Figure 6", *ROTATED).axes
    assert axes.get_title(loc="left") == "stl10: rotation, degrees"
    drawn = {str(line.get_label()): line for line in axes.lines}
    assert set(drawn) == {f"{who}, {name}" for who in ("here", "the paper") for name in TURNED}
    for name in TURNED:
        assert drawn[f"here, {name}"].get_color() == drawn[f"the paper, {name}"].get_color()
    ours, theirs = (lines(axes)[f"{who}, rotation up to 40 degrees"] for who in ("here", "the paper"))
    assert ours == ([-45, 0, 45], pytest.approx([45.5, 50, 54.5]))
    assert theirs == ([-45, 0, 45], pytest.approx([39.5, 61.2, 39.5]))


def test_the_marks_of_figure_6_are_those_of_networks_that_are_here():
    """One of its networks that we lack has none, nor has any on another dataset or with seeds from another set."""
    (axes,) = draw("Figure 6", *ROTATED[:2]).axes
    assert {name for name in lines(axes) if "paper" in name} == {
        f"the paper, rotation up to {angle} degrees" for angle in (20, 40)
    }
    hue = nets(ROTATED[0], without("color"))["hue_offset_turns"]
    reported = published_figures.reported_nets("hue_offset_turns", hue, dataset="stl10")
    assert set(reported["condition"]) == {"with color", "without color"}
    assert published_figures.reported_nets("hue_offset_turns", hue, dataset="cifar10").empty
    (axes,) = draw("Figure 6", *(row | {"unlabeled": "cifar10"} for row in ROTATED)).axes
    assert all(name.startswith("here") for name in lines(axes))


def test_the_curves_of_figure_6_are_means_over_random_seeds():
    """Each is read from its own experiment."""
    (axes,) = draw("Figure 6", *ROTATED[:2], ROTATED[0] | {"rev": "still", "random_seed": 1}).axes
    assert lines(axes)["here, rotation up to 20 degrees"][1] == pytest.approx([45.5, 50, 54.5])


def test_the_same_experiments_make_the_same_file():
    """And a title says how many random seeds a point is the mean of."""
    ours = [experiment(seeds__count=number, random_seed=seed) for number in (50, 100) for seed in (0, 1, 2)]
    first, second = (draw("Figure 3", *ours) for _ in range(2))
    assert first.axes[0].get_title(loc="left").endswith("seeds from stl10, 3 random seeds")
    assert figures.png(first) == figures.png(second)


COUNTED = "surrogate:\n  samples: 4\ntrain:\n  epochs: 2\nseeds:\n  count: 0\n"  # the stage reads the last number
PIPELINE = """
stages:
  compare:
    cmd: python stage.py
    deps: [stage.py]
    params: [seeds, surrogate, train]
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
    settings = json.dumps(rest)[1:-1].replace(", ", "\n").replace('"', "")
    (folder / "params.yaml").write_text(f"{settings}\n{COUNTED}")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "stage.py").write_text(STAGE)
    (folder / ".gitignore").write_text("/results/\n")
    for words in ("git init -q", "dvc init -q", "git add .", "git commit -qm pipeline"):
        subprocess.run(words.split(), check=True, capture_output=True)
    return folder


def make_figures() -> "subprocess.CompletedProcess[str]":
    """`make figures`, but for the set-up."""
    return subprocess.run([sys.executable, "-m", "stages.figures"], capture_output=True, text=True, check=False)


def test_figures_are_drawn_from_what_dvc_shows(repository: Path):
    """A line for each figure says where it is, or what makes the experiments that it lacks; git sees nothing of it."""
    for number in (8, 16):
        subprocess.run(["dvc", "exp", "run", "-S", f"seeds.count={number}"], check=True, capture_output=True)
    subprocess.run(["git", "checkout", "-q", "params.yaml"], check=True)
    done = make_figures()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Figure 3: results/published/figure3.png",
        "Figure 4: not drawn, no experiments for it; runs/figure4.sh makes them",
        "Figure 5: not drawn, no experiments for it; runs/figure5.sh makes them",
        "Figure 6: not drawn, no experiments for it; runs/figure6.sh makes them",
        "Passes: results/published/passes.png",
        "random seeds: no table, no experiments that differ in random_seed alone; "
        "dvc exp run --queue -S random_seed=0,1,2 and dvc queue start make them",
    ]
    Image.open(io.BytesIO((repository / "results/published/figure3.png").read_bytes())).load()
    table = (repository / "results/published/experiments.csv").read_text()
    assert table.startswith("Experiment,")
    experiments = published.load(table)
    assert sorted(experiments["seeds.count"]) == [8, 16]
    for number, revision in zip(experiments["seeds.count"], experiments["rev"], strict=True):
        assert stage.load_invariance("stl10", revision)["accuracy"].tolist() == [number]
    with pytest.raises(UserError, match=r"cifar10-exemplar\.csv of the experiment HEAD cannot be read .*run it again"):
        stage.load_invariance("cifar10", "HEAD")
    assert subprocess.run(["git", "status", "--short"], capture_output=True, text=True).stdout == "?? dvc.lock\n"


def test_outside_of_a_repository_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """DVC's own words are quoted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    done = make_figures()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: dvc exp show failed (ERROR: you are not inside of a DVC repository")
