"""The nets of Figure 6 are found among all experiments, and their curves stand beside the paper's numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_studies import RELEASE, experiment, without

from exemplar.report import figure6
from exemplar.report.experiments import Experiment

PAPER_WORDS = {"rotation up to 20 degrees", "rotation up to 40 degrees", "without movement"}


def net(made: Experiment, revision: str = "") -> Experiment:
    """The same experiment, with its invariance measured."""
    return replace(made, revision=revision, settings={**made.settings, "invariance.methods": ("exemplar", "random")})


def null(made: Experiment) -> Experiment:
    """The same experiment, as params.yaml says it: null is the value of the family."""
    same = {name for name, value in RELEASE.items() if made.settings[name] == value and name.startswith("transf")}
    settings = {name: None if name in same else value for name, value in made.settings.items()}
    return replace(made, settings=settings | {"transformation.family": "release"})


ROTATED = [
    net(experiment(), "release"),
    net(experiment(transformation__angle_degrees=(-40.0, 40.0)), "wide"),
    net(without("rotation", "scaling", "translation"), "still"),
]
CONTRAST = {
    f"transformation__{which}_{what}": bounds
    for which in ("saturation", "value")
    for what, bounds in (("power", (0.0625, 16)), ("factor", (0.5, 2)), ("offset", (-0.2, 0.2)))
}


def read(dataset: str, revision: str) -> pd.DataFrame:
    """What the stage wrote: here every accuracy says which net it is of."""
    level = {"release": 0.6, "wide": 0.5, "still": 0.4}[revision]
    rows = [
        {"transformation": name, "magnitude": magnitude, "accuracy": level + magnitude / 1000}
        for name in ("angle_degrees", "hue_offset_turns")
        for magnitude in (-45.0, 0.0, 45.0)
    ]
    return pd.DataFrame(rows).assign(dataset=dataset)


def test_nets_have_the_papers_names() -> None:
    """Ranges are told apart part by part, whether params.yaml states them or leaves them to the family."""
    others = [net(without("color")), net(without("contrast")), net(experiment(**CONTRAST))]
    for experiments in ([*ROTATED, *others], [null(each) for each in [*ROTATED, *others]]):
        found = figure6.nets(experiments, dataset="stl10")
        assert set(found["angle_degrees"]) == PAPER_WORDS
        assert set(found["hue_offset_turns"]) == {"color up to 0.1 turns", "without color"}
        assert set(found["contrast_factor"]) == {"contrast (2, 0.5, 0.1)", "contrast (4, 1, 0.2)", "without contrast"}


def test_a_net_that_differs_otherwise_is_no_part_of_it() -> None:
    """Neither one that was trained for longer nor one whose invariance was not measured; one alone is no figure."""
    others = [net(experiment(train__epochs=9, transformation__angle_degrees=(-40.0, 40.0))), experiment(0.1)]
    others.append(net(experiment(transformation__angle_degrees=(-40.0, 40.0), transformation__stretch_fraction=0.5)))
    assert figure6.nets([ROTATED[0], *others], dataset="stl10") == {}
    assert figure6.draw([ROTATED[0], *others], read) is None
    assert figure6.draw([], read) is None


def test_of_nets_that_are_alike_the_newest_counts() -> None:
    """Also where one of them states the ranges and the other leaves them to the family."""
    named = [replace(each, settings={**each.settings, "transformation.family": "release"}) for each in ROTATED[:2]]
    newest = replace(null(named[1]), created="9")
    for experiments in ([*named, newest], [newest, *named]):
        found = figure6.nets(experiments, dataset="stl10")
        assert found["angle_degrees"]["rotation up to 40 degrees"].created == "9"


def test_curves_are_in_percent_beside_the_papers_marks() -> None:
    """Equal nets have equal colours; a mark with a line is known as a range only, and holds in either direction."""
    figure = figure6.draw(ROTATED, read)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "stl10: rotation, degrees"
    drawn = {str(line.get_label()): line for line in axes.lines}
    assert set(drawn) == {f"{who}, {name}" for who in ("here", "the paper") for name in PAPER_WORDS}
    for name in PAPER_WORDS:
        assert drawn[f"here, {name}"].get_color() == drawn[f"the paper, {name}"].get_color()
    ours = drawn["here, rotation up to 40 degrees"]
    assert np.asarray(ours.get_xdata()).tolist() == [-45, 0, 45]
    assert np.asarray(ours.get_ydata()) == pytest.approx([45.5, 50, 54.5])
    theirs = drawn["the paper, rotation up to 40 degrees"]
    assert np.asarray(theirs.get_xdata()).tolist() == [-45, 0, 45]
    assert np.asarray(theirs.get_ydata()) == pytest.approx([39.5, 61.2, 39.5])


def test_the_papers_marks_are_those_of_nets_that_are_here() -> None:
    """One of its nets that we lack has none, nor has any on another dataset or with seeds from another set."""
    figure = figure6.draw(ROTATED[:2], read)
    assert figure is not None
    names = {str(line.get_label()) for line in figure.axes[0].lines}
    assert {name for name in names if "paper" in name} == {f"the paper, rotation up to {n} degrees" for n in (20, 40)}
    coloured = [net(experiment(), "release"), net(without("color"), "still")]
    found = figure6.nets(coloured, dataset="stl10")["hue_offset_turns"]
    assert set(figure6.marks("hue_offset_turns", found, dataset="stl10")["condition"]) == {
        "with color",
        "without color",
    }
    assert figure6.marks("hue_offset_turns", found, dataset="cifar10").empty
    elsewhere = [replace(each, settings={**each.settings, "unlabeled": "cifar10"}) for each in ROTATED]
    figure = figure6.draw(elsewhere, read)
    assert figure is not None
    assert all(str(line.get_label()).startswith("here") for line in figure.axes[0].lines)


def test_random_seeds_are_averaged() -> None:
    """Each is read from its own experiment."""
    second = replace(ROTATED[0], revision="still", settings={**ROTATED[0].settings, "random_seed": 1})
    figure = figure6.draw([*ROTATED[:2], second], read)
    assert figure is not None
    (ours,) = [line for line in figure.axes[0].lines if line.get_label() == "here, rotation up to 20 degrees"]
    assert np.asarray(ours.get_ydata()) == pytest.approx([45.5, 50, 54.5])
