"""The paper's numbers, and how they are found."""

import math
from dataclasses import asdict

import pytest

from exemplar.report import paper
from exemplar.surrogate.ranges import PAPER, RELEASE

SMALL, MEDIUM, LARGE = "64c5-64c5-128f", "64c5-128c5-256c5-512f", "92c5-256c5-512c5-1024f"


def test_every_number_names_its_source() -> None:
    """Each says where it stands, in which version of the paper, and whether it was printed or read off a plot."""
    numbers = paper.load()
    assert numbers[["source", "version", "reading", "dataset", "method", "quantity"]].notna().all(axis=None)
    assert set(numbers["reading"]) == {"verbatim", "digitised"}
    assert {source.split()[0] + source.split()[1] for source in numbers["source"]} == {
        *(f"Table{number}" for number in (1, 2, 3, 4)),
        *(f"Figure{number}" for number in (3, 4, 5, 6)),
    }
    assert not numbers.duplicated().any()


def test_what_was_read_off_a_plot_is_bounded() -> None:
    """A digitised number lies between bounds; a printed one needs none."""
    numbers = paper.load()
    digitised, verbatim = (numbers[numbers["reading"] == reading] for reading in ("digitised", "verbatim"))
    assert (digitised["low"] < digitised["high"]).all()
    points = digitised.dropna(subset="percent")
    assert ((points["low"] < points["percent"]) & (points["percent"] < points["high"])).all()
    assert verbatim["percent"].notna().all()
    assert verbatim[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("source", "count"),
    [("Table 1", 35), ("Table 2", 15), ("Table 3", 9), ("Table 4", 48), ("Figure 4", 31), ("Figure 5", 24)],
)
def test_the_tables_are_whole(source: str, count: int) -> None:
    """Every printed or plotted cell has its row."""
    assert (paper.load()["source"] == source).sum() == count


@pytest.mark.parametrize(
    ("model", "accuracy", "std"), [(SMALL, 0.671, 0.002), (MEDIUM, 0.728, 0.004), (LARGE, 0.742, 0.004)]
)
def test_the_three_nets_on_stl10(model: str, accuracy: float, std: float) -> None:
    """Table 1 counts before the tables that repeat its rows."""
    found = paper.reported(dataset="stl10", method="exemplar", model=model, unlabeled="stl10")
    assert (found.accuracy, found.std) == pytest.approx((accuracy, std))
    assert found.source == "Table 1"


def test_the_set_that_seeds_come_from_counts() -> None:
    """Seeds from CIFAR-10 have a number of their own in Table 3, and seeds from a set outside the paper have none."""
    question = {"dataset": "cifar10_400", "method": "exemplar", "model": SMALL}
    assert paper.reported(**question, unlabeled="stl10").accuracy == pytest.approx(0.697)
    assert paper.reported(**question, unlabeled="cifar10").accuracy == pytest.approx(0.703)
    assert math.isnan(paper.reported(**question, unlabeled="photos").accuracy)


def test_of_two_entries_for_a_net_the_better_counts() -> None:
    """Table 4 has this net with 8,000 and with 16,000 classes."""
    found = paper.reported(dataset="stl10", method="exemplar", model="128c5-256c5-512f", unlabeled="stl10")
    assert found.accuracy == pytest.approx(0.719)
    assert math.isnan(found.std)


def test_untrained_filters_have_a_number_beside_any_unlabeled_set() -> None:
    """Random filters are trained on nothing, so it does not matter which set the seeds come from."""
    found = paper.reported(dataset="stl10", method="random", model=SMALL, unlabeled="photos")
    assert found.accuracy == pytest.approx(0.499)
    assert found.source == "Figure 4, digitised"


def test_figure_6_has_points_of_nets_trained_under_the_releases_ranges() -> None:
    """Both directions of a turn, a range where only a range could be read; all on STL-10 and with seeds from it."""
    found = paper.invariance(unlabeled="stl10", ranges=asdict(RELEASE))
    assert set(found["dataset"]) == {"stl10"}
    turned, hue, contrast = (found[found["transformation"] == name] for name in paper.FIGURE_6)
    assert turned["magnitude"].tolist() == [-45, 0, 45]
    assert turned["percent"].tolist() == [24, 61.8, 24]
    assert hue[["magnitude", "low", "high"]].to_numpy().tolist() == [[-0.3, 59, 62], [0.3, 59, 62]]
    assert hue["percent"].isna().all()
    assert contrast[["magnitude", "percent"]].to_numpy().tolist() == [[0.125, 42.6], [1, 61.6], [8, 48.7]]
    assert len(found) == len(turned) + len(hue) + len(contrast)


def test_other_nets_have_no_points_of_figure_6() -> None:
    """Neither with seeds from another set, nor under the ranges of the paper's text, nor with one range changed."""
    assert paper.invariance(unlabeled="photos", ranges=asdict(RELEASE)).empty
    assert paper.invariance(unlabeled="stl10", ranges=asdict(PAPER)).empty
    assert paper.invariance(unlabeled="stl10", ranges={**asdict(RELEASE), "angle_degrees": (-40.0, 40.0)}).empty


def test_competitors_are_printed_as_in_the_paper() -> None:
    """Table 1 keeps its order, its spreads and its empty cells."""
    table = paper.competitors()
    assert list(table.columns) == ["stl10", "cifar10_400", "cifar10", "caltech101", "caltech256"]
    assert table.index[0] == "Convolutional K-means Network"
    assert list(table.loc["Supervised state of the art"]) == ["70.1", "", "92.0", "91.44", "70.6"]
    assert list(table.loc[f"exemplar {MEDIUM}"]) == ["72.8 ± 0.4", "75.4 ± 0.2", "82.2", "86.1 ± 0.5", "51.2 ± 0.2"]
