"""Rows in families, and the differences between them."""

from dataclasses import replace

import numpy as np
import pytest
from test_comparison import RECORD, answering

from exemplar.datasets.evaluation import Evaluation
from exemplar.report import comparison, families

ROWS = [
    answering("exemplar", 0.7),
    answering("jigsaw", 0.55),
    answering("rotation", 0.69),
    answering("random", 0.54),
    answering("pixels", 0.3),
    answering("exemplar", 0.6, "finetune"),
    answering("random", 0.4, "finetune"),
]


def sentences(records: list[Evaluation]) -> list[str]:
    """What is said of the pairs."""
    return [pair.sentence() for pair in families.pairs(records)]


def test_rows_stand_by_family_and_the_best_first() -> None:
    """A fine-tuned encoder stays with its task; datasets keep their order, and no number changes."""
    table = comparison.table([*ROWS, replace(RECORD, dataset="photos")], unlabeled="stl10")
    rows = families.arranged(table)
    assert list(zip(rows["family"], rows["method"], strict=True)) == [
        ("pretext", "exemplar"),
        ("pretext", "rotation"),
        ("pretext", "exemplar, fine-tuned"),
        ("pretext", "jigsaw"),
        ("supervised", "supervised"),
        ("control", "random"),
        ("control", "pixels"),
        ("pretext", "exemplar"),
    ]
    assert list(rows["dataset"].unique()) == ["stl10", "photos"]
    assert sorted(rows["accuracy_mean"]) == sorted(table["accuracy_mean"])


def test_rows_are_compared_with_random_filters() -> None:
    """Paired; the baseline itself has no difference, and where there is none another control stands in, or a row."""
    ahead = families.from_baseline(ROWS)
    assert ("stl10", "random") not in ahead
    assert ahead["stl10", "rotation"].mean == pytest.approx(0.15)
    assert ahead["stl10", "rotation"].is_shown
    assert not ahead["stl10", "jigsaw"].is_shown
    assert families.baseline([ROWS[0], ROWS[4]]).title == "pixels"
    assert families.baseline(ROWS[:2]).title == "exemplar"


def test_the_pairs_that_matter_are_said_in_sentences() -> None:
    """The best task and the best control, exemplar and the best other task, and both readouts against few labels."""
    first, second, third, fourth = sentences(ROWS)
    assert first == (
        "exemplar (the best pretext task) is 16.0 points above random (the best control), with 95 % confidence between "
        "8.7 and 23.3 points above: a difference is shown."
    )
    assert second.startswith("exemplar is 1.0 points above rotation (the best other task), with 95 % confidence")
    assert second.endswith("above: no difference is shown.")
    assert third.startswith("exemplar (the best pretext task) is 30.0 points above supervised, ")
    assert fourth.startswith("exemplar, fine-tuned is 20.0 points above supervised, ")


def test_a_short_comparison_says_little() -> None:
    """Without other tasks, labels or controls their pairs are left out, and nobody is the best of one."""
    assert len(sentences(ROWS[:1])) == 0
    (only,) = sentences([ROWS[0], ROWS[3]])
    assert only.startswith("exemplar is 16.0 points above random, ")
    behind = sentences([answering("exemplar", 0.5), answering("rotation", 0.7)])
    assert behind[0].startswith("exemplar is 20.0 points below rotation (the best other task)")
    assert np.isfinite(families.from_baseline(ROWS)["stl10", "pixels"].margin)
