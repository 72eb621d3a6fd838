"""Which experiments belong to the paper's Figures 3 to 5: those that differ in what a figure varies, and in no more."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exemplar.report.experiments import Experiment, Point, Value, alike, largest, points

# What switches a group of transformations off. The paper's contrast is both that along the principal components and
# that in HSV, of which the stretch of each patch is a part.
NEUTRAL: Mapping[str, Mapping[str, Value]] = {
    "rotation": {"transformation.angle_degrees": (0, 0)},
    "scaling": {"transformation.scale_factor": (1, 1)},
    "translation": {"transformation.shift_fraction": (0, 0)},
    "color": {"transformation.hue_offset_turns": (0, 0)},
    "contrast": {
        "transformation.pca_log2_spread": (0, 0, 0),
        "transformation.stretch_fraction": 0,
        "transformation.saturation_power": (1, 1),
        "transformation.saturation_factor": (1, 1),
        "transformation.saturation_offset": (0, 0),
        "transformation.value_power": (1, 1),
        "transformation.value_factor": (1, 1),
        "transformation.value_offset": (0, 0),
    },
}


@dataclass(frozen=True)
class Study:
    """A figure of accuracy against the number on its `axis`, with a curve for each value of `curve` if there is one.

    Both are a setting here and its column in paper.csv. Settings that are `free` may follow the axis: with few samples
    a class it takes more epochs to see each class equally often.
    """

    source: str
    label: str
    axis: tuple[str, str]
    free: tuple[str, ...]
    curve: tuple[str, str] | None = None


CLASSES, SAMPLES = ("seeds.count", "classes"), ("surrogate.samples", "samples")
# How Figure 6 is measured changes no other figure.
MEASURED = ("invariance.",)
FIGURE_3 = Study("Figure 3", "surrogate classes", axis=CLASSES, free=MEASURED)
FIGURE_4 = Study("Figure 4", "samples of each class", axis=SAMPLES, curve=CLASSES, free=(*MEASURED, "train.epochs"))


def curves(experiments: Iterable[Experiment], study: Study, *, dataset: str) -> list[Point]:
    """The largest set of experiments that differ in the study's numbers only; a curve has at least two points."""
    varied = {study.axis[0]} | ({study.curve[0]} if study.curve else set())
    groups = []
    for group in alike(points(experiments, dataset=dataset, free=study.free), varied=varied):
        lines = alike(group, varied={study.axis[0]})
        groups.append([point for line in lines if len(line) > 1 for point in line])
    return largest(groups)


def removed(point: Point) -> tuple[str, ...]:
    """The groups of transformations that were switched off."""
    return tuple(
        group
        for group, neutral in NEUTRAL.items()
        if all(point.settings.get(name) == value for name, value in neutral.items())
    )


def ablations(experiments: Iterable[Experiment], *, dataset: str) -> list[Point]:
    """The largest set of experiments that differ in the groups that were switched off only, the one with all first."""
    found = points(experiments, dataset=dataset, free=MEASURED)
    groups = [
        [base, *(point for point in found if removed(point) and differs_by(removed(point), point, base))]
        for base in found
        if not removed(base)
    ]
    return largest([group for group in groups if len(group) > 1])


def differs_by(missing: Sequence[str], point: Point, base: Point) -> bool:
    """Whether the settings agree but for those that switch the missing groups off."""
    excused = {name for group in missing for name in NEUTRAL[group]}
    return all(base.settings.get(name) == value for name, value in point.settings.items() if name not in excused)


def condition(point: Point) -> str:
    """What was switched off, in the words of paper.csv."""
    missing = removed(point)
    return f"without {'all' if len(missing) == len(NEUTRAL) else '+'.join(missing)}"
