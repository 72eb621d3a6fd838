"""Which experiments belong to a figure: those that differ in what it varies, and in nothing else."""

from dataclasses import asdict
from itertools import count

from exemplar.report import studies
from exemplar.report.experiments import Experiment, Value
from exemplar.report.studies import FIGURE_3, FIGURE_4, NEUTRAL
from exemplar.surrogate import ranges

RELEASE: dict[str, Value] = {
    "model": "64c5-64c5-128f",
    "random_seed": 0,
    "unlabeled": "stl10",
    "seeds.count": 1000,
    "surrogate.samples": 150,
    "train.epochs": 160,
    **{f"transformation.{name}": value for name, value in asdict(ranges.RELEASE).items()},
}
CLOCK = count()


def experiment(accuracy: float = 0.6, **changes: Value) -> Experiment:
    """One that differs from the release in these settings; double underscores stand for dots."""
    settings = RELEASE | {name.replace("__", "."): value for name, value in changes.items()}
    return Experiment("", "", f"{next(CLOCK):06d}", settings, {("stl10", "exemplar"): (accuracy, 0.01)})


def without(*groups: str, accuracy: float = 0.5) -> Experiment:
    """One in which groups of transformations are switched off."""
    changes = {name: value for group in groups for name, value in NEUTRAL[group].items()}
    return Experiment("", "", f"{next(CLOCK):06d}", RELEASE | changes, {("stl10", "exemplar"): (accuracy, 0.01)})


def places(experiments: list[Experiment], study: studies.Study) -> list[tuple[Value, Value]]:
    """The classes and samples of the points of a figure."""
    points = studies.curves(experiments, study, dataset="stl10")
    return sorted((point.settings["seeds.count"], point.settings["surrogate.samples"]) for point in points)


def test_figure_3_is_the_longest_row_of_class_counts():
    """An experiment with another network, or with another number of samples, is no part of it."""
    chosen = [experiment(seeds__count=number) for number in (50, 100, 250)]
    others = [experiment(model="4c5-8f", seeds__count=500), experiment(surrogate__samples=9, seeds__count=1000)]
    assert places([*chosen, *others], FIGURE_3) == [(50, 150), (100, 150), (250, 150)]


def test_figure_4_has_a_curve_for_each_number_of_classes():
    """Epochs may follow the samples; a number of classes with one point only has no curve."""
    chosen = [
        experiment(seeds__count=classes, surrogate__samples=samples, train__epochs=24_000 // samples)
        for classes in (1000, 2000)
        for samples in (1, 150)
    ]
    figure_3 = [experiment(seeds__count=classes) for classes in (50, 100, 250, 500, 1000, 2000)]
    assert places([*chosen, *figure_3], FIGURE_4) == [(1000, 1), (1000, 150), (2000, 1), (2000, 150)]


def test_one_experiment_is_no_figure():
    """Nothing is drawn of it."""
    for study in (FIGURE_3, FIGURE_4):
        assert places([experiment()], study) == []
    assert studies.ablations([experiment()], dataset="stl10") == []
    assert studies.ablations([without("color"), without("contrast")], dataset="stl10") == []


def test_an_ablation_is_called_what_the_paper_calls_it():
    """In the order of the paper's list, whatever the order of the experiments."""
    asked = [("color",), ("contrast",), ("rotation", "scaling", "translation"), ("color", "contrast"), tuple(NEUTRAL)]
    base, *others = studies.ablations([*(without(*groups) for groups in asked), experiment()], dataset="stl10")
    assert studies.removed(base) == ()
    assert [studies.condition(point) for point in others] == [
        "without color",
        "without contrast",
        "without rotation+scaling+translation",
        "without color+contrast",
        "without all",
    ]


def test_an_ablation_differs_in_nothing_else():
    """A wider rotation, or half a contrast, is another experiment."""
    half = experiment(transformation__saturation_power=(1, 1), transformation__saturation_factor=(1, 1))
    wider = experiment(transformation__hue_offset_turns=(0, 0), transformation__angle_degrees=(-40.0, 40.0))
    base, *others = studies.ablations([experiment(), without("color"), half, wider], dataset="stl10")
    assert base.settings == {name: value for name, value in RELEASE.items() if name != "random_seed"}
    assert [studies.condition(point) for point in others] == ["without color"]
