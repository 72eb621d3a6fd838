"""The first lines of the page."""

from dataclasses import replace

import pytest
from test_comparison import RECORD, answering

from exemplar.report.answers import facts, headline
from exemplar.report.comparison import table


def test_the_headline_says_whether_learning_helps_and_how_sure_that_is() -> None:
    """In points, with an interval; rows of other datasets and other rows of this one are left to the table."""
    others = [answering("pixels", 0.2), answering("random", 0.5), answering("exemplar", 0.72, "finetune")]
    rows = table([answering("exemplar", 0.7), *others, replace(RECORD, dataset="photos")], unlabeled="stl10")
    assert headline(rows) == (
        "On stl10, learning without labels helps: exemplar reaches 70.0 %, 20.0 points above random filters, with 95 % "
        "confidence between 12.0 and 28.0 points above."
    )
    behind = table([answering("exemplar", 0.5), answering("random", 0.7)], unlabeled="stl10")
    assert headline(behind) == (
        "On stl10, learning without labels does harm: exemplar reaches 50.0 %, 20.0 points below random filters, with "
        "95 % confidence between 12.0 and 28.0 points below."
    )
    assert headline(table([RECORD], unlabeled="stl10")) == "On stl10, exemplar reaches 70.0 %."


def test_the_headline_shows_no_difference_where_none_is_shown() -> None:
    """An interval that holds 0 is no finding, however the means stand."""
    close = table([answering("exemplar", 0.72), answering("random", 0.7)], unlabeled="stl10")
    assert headline(close) == (
        "On stl10, it is not shown that learning without labels helps: exemplar reaches 72.0 %, 2.0 points above "
        "random filters, with 95 % confidence between 0.8 points below and 4.8 above."
    )
    level = table([answering("exemplar", 0.7), answering("random", 0.7)], unlabeled="stl10")
    assert "exemplar reaches 70.0 %, level with random filters" in headline(level)


def test_two_rows_that_do_not_ask_about_learning_without_labels_are_only_compared() -> None:
    """Such as two controls, or two tasks."""
    for first, second in (("random", "pixels"), ("exemplar", "rotation")):
        rows = table([answering(first, 0.7), answering(second, 0.5)], unlabeled="stl10")
        assert headline(rows).startswith(f"On stl10: {first} reaches 70.0 %, 20.0 points above {second}, with")
    rows = table([answering("random", 0.52), answering("pixels", 0.5)], unlabeled="stl10")
    assert headline(rows).startswith("On stl10, no difference is shown: random reaches 52.0 %, 2.0 points above pixels")


def test_the_facts_are_those_of_the_first_row() -> None:
    """How far it is from the paper, what it cost and what its interval leaves out."""
    told = facts(table([RECORD], unlabeled="stl10"), asked="which of two", passes="110,000", minutes="1.5")
    assert told["Task"] == "Which of two"
    assert told["The paper"] == "67.1 ± 0.2 % (Table 1); exemplar is 2.9 points above it."
    assert told["Cost"] == "110,000 passes of a patch through the encoder; 1.5 minutes of training and evaluation"
    assert told["How sure"].startswith("The mean of 3 training sets of 1,000 labeled images each, tested on ")


@pytest.mark.parametrize(
    ("accuracy", "said"), [(0.671, "exemplar is level with it."), (0.5, "exemplar is 17.1 points below it.")]
)
def test_the_distance_to_the_paper_is_that_of_what_is_shown(accuracy: float, said: str) -> None:
    """A reader who subtracts finds the same."""
    rows = table([replace(RECORD, accuracy=[accuracy] * 3)], unlabeled="stl10")
    assert facts(rows, asked="", passes="0", minutes="–")["The paper"].endswith(said)


def test_what_is_not_known_is_not_told() -> None:
    """A set that the paper never saw, and a training that took place elsewhere."""
    told = facts(table([replace(RECORD, dataset="photos")], unlabeled="photos"), asked="", passes="0", minutes="–")
    assert told["The paper"].startswith("No comparison: Dosovitskiy et al. have no number for exemplar on photos")
    assert told["Cost"] == "Not trained"


def test_one_fold_and_no_training() -> None:
    """Such as random filters on CIFAR-10 with all labels."""
    row = replace(RECORD, method="random", accuracy=RECORD.accuracy[:1], class_accuracy=RECORD.class_accuracy[:1])
    told = facts(table([row], unlabeled="stl10"), asked="", passes="0", minutes="2.0")
    assert told["How sure"].startswith("The mean of 1 training set of 1,000 labeled images each, ")
    assert told["Cost"] == "Not trained; 2.0 minutes of evaluation"
