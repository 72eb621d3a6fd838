"""Curves of invariance: how they are read, and how they are drawn."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from exemplar.errors import UserError
from exemplar.report import figures, panels, paper
from exemplar.surrogate.ranges import RELEASE

MAGNITUDES = {
    "shift_fraction": [-0.25, 0.0, 0.25],
    "angle_degrees": [-45.0, 0.0, 45.0],
    "scale_factor": [0.7, 1.0, 1.41],
    "hue_offset_turns": [-0.3, 0.0, 0.3],
    "contrast_factor": [0.125, 1.0, 8.0],
}


def curves(dataset: str, method: str) -> pd.DataFrame:
    """What the stage writes about one encoder."""
    points = [(name, magnitude) for name, listed in MAGNITUDES.items() for magnitude in listed]
    table = pd.DataFrame(points, columns=["transformation", "magnitude"])
    numbers = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.7}
    numbers |= {"distance_layer_1": 0.1, "distance_pooled": 0.2}
    return table.assign(**numbers, dataset=dataset, method=method)


MARKS = paper.invariance(unlabeled="stl10", ranges=asdict(RELEASE))
BOTH = pd.concat([curves("stl10", "exemplar"), curves("stl10", "random")])


def test_a_row_per_transformation_and_a_curve_per_method() -> None:
    """Distances at the left, accuracies in percent and their intervals at the right; ratios by their logarithms."""
    figure = panels.invariance_curves(BOTH, MARKS)
    axes = np.array(figure.axes).reshape(-1, 2)
    assert [right.get_xlabel() for _, right in axes] == list(panels.LABELS.values())
    for left, right in axes:
        assert [line.get_label() for line in left.lines][:2] == ["exemplar", "random"]
        assert [line.get_label() for line in right.lines][:2] == ["exemplar", "random"]
        assert np.asarray(left.lines[0].get_ydata()).tolist() == [0.2] * 3
        assert np.asarray(right.lines[0].get_ydata()).tolist() == [50] * 3
        assert np.asarray(left.lines[2].get_ydata()).tolist() == [1, 1]  # another picture
        bands = [band.get_paths()[0].get_extents() for band in right.collections[:2]]
        assert [(band.y0, band.y1) for band in bands] == [(40, 70)] * 2
    assert [left.get_xscale() for left, _ in axes] == ["linear", "linear", "log", "linear", "log"]


def test_ratios_are_short_where_they_can_be() -> None:
    """Seven of them stand under an axis of two inches."""
    assert [panels.ratio(value) for value in (0.125, 0.5, 0.7, 1.0, 1.41, 8.0)] == [
        "1/8",
        "1/2",
        "0.7",
        "1",
        "1.41",
        "8",
    ]


def test_the_papers_points_stand_where_its_axis_is_ours() -> None:
    """Rotation, hue and contrast on STL-10; what could only be read as a range is a bar with its middle marked."""
    right = panels.invariance_curves(BOTH, MARKS).axes[1::2]
    marks = [[np.asarray(line.get_xydata()).tolist() for line in axes.lines[2:]] for axes in right]
    assert marks == [
        [],
        [[[-45, 24], [0, 61.8], [45, 24]]],
        [],
        [[[-0.3, 60.5], [0.3, 60.5]]],
        [[[0.125, 42.6], [1, 61.6], [8, 48.7]]],
    ]
    bars = right[3].collections[2].get_paths()
    assert [path.vertices.tolist() for path in bars] == [[[x, 59], [x, 62]] for x in (-0.3, 0.3)]
    other = panels.invariance_curves(curves("photos", "exemplar"), MARKS.iloc[:0])
    assert [len(axes.lines) for axes in other.axes] == [2, 1] * 5


def test_the_same_numbers_make_the_same_small_file() -> None:
    """Equal byte for byte."""
    first, second = (figures.png(panels.invariance_curves(BOTH, MARKS)) for _ in range(2))
    assert first == second
    assert len(first) < 150_000


def test_tables_of_networks_with_other_layers_are_read_as_one(tmp_path: Path) -> None:
    """A layer that an encoder lacks is empty, and every row knows whose it is."""
    curves("photos", "exemplar").to_csv(tmp_path / "a.csv", index=False)
    curves("photos", "pixels").drop(columns="distance_layer_1").to_csv(tmp_path / "b.csv", index=False)
    table = panels.load([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert table.groupby("method", sort=False)["distance_layer_1"].count().to_dict() == {"exemplar": 15, "pixels": 0}


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """One line says which file, and what to do."""
    path = tmp_path / "photos-exemplar.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"photos-exemplar\.csv .*run the invariance stage"):
        panels.load([path])
