"""Accuracy against encoder passes, from what DVC prints of experiments."""

import pytest
from test_published import changed, experiment, load

from exemplar.report import passes, published_figures

OURS = {"stl10.random.accuracy": 0.5, "stl10.random.std": 0.01}
ROTATION = {"stl10.exemplar.accuracy": 0.65, "stl10.rotation.accuracy": 0.55, "stl10.rotation.std": 0.02} | OURS


def test_a_point_is_a_method_with_its_recipe_and_its_passes() -> None:
    """Classes times samples times epochs; only exemplar has recipes, and random filters have no passes."""
    table = passes.points(load(changed(ROTATION), experiment(train__recipe="fast")), dataset="stl10")
    told = table.set_index("label")["passes"].to_dict()
    assert told == {"exemplar, release": 24e6, "exemplar, fast": 24e6, "rotation": 24e6}


def test_clustered_has_trained_twice() -> None:
    """Once on the seeds and once on their clusters, by the recipe of the exemplar task."""
    measured = {"stl10.clustered.accuracy": 0.66, "stl10.clustered.std": 0.02} | OURS
    told = passes.points(load(changed(measured)), dataset="stl10").set_index("label")["passes"].to_dict()
    assert told == {"exemplar, release": 24e6, "clustered, release": 48e6}


def test_experiments_that_differ_in_their_random_seed_alone_are_one_point() -> None:
    """With the mean of their accuracies, and their spread."""
    (point,) = passes.points(load(experiment(0.6), experiment(0.7, random_seed=1)), dataset="stl10").to_dict("records")
    assert point["accuracy"] == pytest.approx(0.65)
    assert point["seed_std"] == pytest.approx(0.1 / 2**0.5)


def test_a_panel_has_a_line_for_each_method_and_two_levels() -> None:
    """Points of a method are joined from few passes to many; random filters and the paper are levels."""
    rows = load(changed(ROTATION), changed(ROTATION, train__epochs=16), experiment(train__recipe="fast"))
    figure = passes.draw(rows)
    assert figure is not None
    (axes,) = figure.axes
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["random filters, here", "exemplar, the paper", "exemplar, fast", "exemplar, release", "rotation"]
    assert handles[-1].lines[0].get_xdata().tolist() == [2.4e6, 24e6]
    assert axes.get_title(loc="left") == "stl10, 64c5-64c5-128f, unlabeled: stl10"
    assert [published_figures.short(number) for number in (0.5, 500.0, 16e3, 2.5e6)] == ["0.5", "500", "16k", "2.5M"]


def test_without_experiments_nothing_is_drawn() -> None:
    """None stands for it."""
    assert passes.draw(load(changed({"stl10.exemplar.accuracy": ""} | OURS))) is None


def test_a_task_of_other_numbers_is_another_point() -> None:
    """Experiments that differ in the task's own section are not pooled; another task's section does not count."""
    puzzles = [
        changed(ROTATION, tasks__rotation__large_share=share, tasks__jigsaw__puzzles=share) for share in (0.2, 0.5)
    ]
    told = passes.points(load(*puzzles), dataset="stl10")["label"].value_counts()
    assert told.to_dict() == {"rotation": 2, "exemplar, release": 1}
