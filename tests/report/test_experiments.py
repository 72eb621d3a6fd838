"""What `dvc exp show --csv` prints becomes points, each with the settings that it follows from."""

import csv
import io

import pytest

from exemplar.errors import UserError
from exemplar.report import experiments

ROW = {
    "Experiment": "a",
    "rev": "b0e3dad",
    "Created": "2026-11-22T08:00:00",
    "State": "",
    "photos.exemplar.accuracy": "0.7",
    "photos.exemplar.std": "0.03",
    "photos.random.accuracy": "0.5",
    "photos.random.std": "0.01",
    "mlflow_run": "77",
    "model": "64c5-64c5-128f",
    "random_seed": "0",
    "datasets": "['photos']",
    "seeds.count": "500",
    "train.epochs": "4",
    "transformation.angle_degrees": "[-20.0, 20.0]",
    "transformation.family": "",
    "probe.photos.side": "96",
    "probe.stl10.side": "96",
    "finetune.epochs": "2",
    "data/seeds.npz": "5d41402a",
}


def table(*changes: dict[str, str]) -> str:
    """What DVC prints of these experiments."""
    names = dict.fromkeys(name for row in (ROW, *changes) for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(ROW | change for change in changes)
    return text.getvalue()


def points(*changes: dict[str, str], **options: object) -> list[experiments.Point]:
    """The points that these experiments are on `photos`."""
    return experiments.points(experiments.read(table(*changes)), dataset="photos", **options)


def test_an_experiment_is_its_accuracies_and_its_settings():
    """Numbers, lists and what is left empty are read as such; results, files and MLflow's ids are no settings."""
    (read,) = experiments.read(table({}))
    assert (read.name, read.revision) == ("a", "b0e3dad")
    assert read.accuracy == {("photos", "exemplar"): (0.7, 0.03), ("photos", "random"): (0.5, 0.01)}
    assert read.settings == {
        "model": "64c5-64c5-128f",
        "random_seed": 0,
        "seeds.count": 500,
        "train.epochs": 4,
        "transformation.angle_degrees": (-20.0, 20.0),
        "transformation.family": None,
        "probe.photos.side": 96,
        "probe.stl10.side": 96,
    }


NOTHING = {name: "" for name in ROW if name.startswith("photos.")}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"Experiment": ""}, id="a commit"),
        pytest.param(NOTHING | {"State": "Queued"}, id="a queued experiment"),
        pytest.param(dict.fromkeys(NOTHING, "!"), id="one whose results cannot be read"),
    ],
)
def test_only_experiments_with_a_result_count(change: dict[str, str]):
    """A commit may hold a params.yaml that was changed after its results were made."""
    assert [each.name for each in experiments.read(table(change, {"Experiment": "b"}))] == ["b"]


@pytest.mark.parametrize("text", ["", "\n", "ERROR: you are not inside of a DVC repository\n", "a,b\n1,2\n"])
def test_anything_else_is_refused(text: str):
    """The line says what was expected."""
    with pytest.raises(UserError, match="expected what `dvc exp show --csv` prints"):
        experiments.read(text)


def test_random_seeds_are_pooled():
    """The mean of the means, and the root mean square of the spreads over the folds."""
    other = {"random_seed": "1", "rev": "77", "photos.exemplar.accuracy": "0.6", "photos.exemplar.std": "0.01"}
    (point,) = points({}, other)
    assert (point.accuracy, point.random, point.revisions) == (pytest.approx(0.65), 0.5, ("b0e3dad", "77"))
    assert point.std == pytest.approx(((0.03**2 + 0.01**2) / 2) ** 0.5)
    assert "random_seed" not in point.settings


def test_of_two_experiments_with_the_same_settings_the_newest_counts():
    """Whatever their order in the table."""
    newer = {"rev": "77", "Created": "2026-11-23T08:00:00", "photos.exemplar.accuracy": "0.8"}
    for rows in (({}, newer), (newer, {})):
        (point,) = points(*rows)
        assert (point.accuracy, point.revisions, point.created) == (0.8, ("77",), newer["Created"])


@pytest.mark.parametrize(
    ("key", "value", "count"),
    [
        ("probe.photos.side", "64", 2),
        ("transformation.angle_degrees", "[0, 0]", 2),
        ("probe.stl10.side", "64", 1),
        ("finetune.epochs", "9", 1),
        ("datasets", "['photos', 'stl10']", 1),
        ("transformation.angle_degrees", "[-20, 20]", 1),
    ],
)
def test_points_differ_where_something_differs_that_counts(key: str, value: str, count: int):
    """Other rows of the comparison and other datasets change nothing; -20 is the same number as -20.0."""
    assert len(points({}, {key: value})) == count


def test_a_free_setting_keeps_nothing_apart():
    """It may follow the axis of a figure, and may be a whole section."""
    assert len(points({}, {"train.epochs": "8"})) == 2
    (point,) = points({}, {"train.epochs": "8"}, free=("train.epochs",))
    assert "train.epochs" not in point.settings
    (point,) = points({}, {"train.epochs": "8"}, free=("seeds.", "train."))


def test_points_that_differ_in_one_number_go_together():
    """And the largest such group is found, of two the newest."""
    found = points(
        {},
        {"seeds.count": "9"},
        {"seeds.count": "7", "train.epochs": "8", "Created": "2026-11-24"},
        {"seeds.count": "9", "train.epochs": "8"},
        {"model": "pixels"},
    )
    groups = experiments.alike(found, varied=("seeds.count",))
    assert sorted(map(len, groups)) == [1, 2, 2]
    assert {point.settings["seeds.count"] for point in experiments.largest(groups)} == {7, 9}
    assert experiments.largest([]) == []
