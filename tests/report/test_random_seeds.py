"""Mean and spread over random seeds of experiments that are otherwise the same."""

import pandas as pd
import pytest

from exemplar.report import published, random_seeds

FIRST = {
    "Experiment": "first",
    "rev": "b0e3dad",
    "Created": "2026-11-22",
    "photos.exemplar.accuracy": 0.70,
    "photos.exemplar.std": 0.03,
    "photos.exemplar-finetuned.accuracy": 0.60,
    "photos.exemplar-finetuned.std": 0.03,
    "model": "64c5-64c5-128f",
    "unlabeled": "photos",
    "random_seed": 0,
    "seeds.count": 500,
    "train.recipe": "release",
    "finetune.epochs": 2,
    "finetune.methods": "['random', 'exemplar']",
}


def over_random_seeds(*changes) -> pd.DataFrame:
    """The table of experiments that differ from the first in these cells."""
    text = pd.DataFrame([FIRST | change for change in changes]).to_csv(index=False)
    return random_seeds.over_random_seeds(published.load(text))


SECOND = {"Experiment": "second", "random_seed": 1, "photos.exemplar.accuracy": 0.72}
THIRD = {"Experiment": "third", "random_seed": 2, "photos.exemplar.accuracy": 0.74}


def test_every_row_has_its_mean_its_spread_and_how_many_random_seeds_it_has():
    """The sample standard deviation over random seeds stands beside the spread over the folds."""
    probed, tuned = over_random_seeds({}, SECOND, THIRD).to_dict("records")
    assert (probed["dataset"], probed["method"]) == ("photos", "exemplar")
    assert probed["accuracy_mean"] == pytest.approx(0.72)
    assert probed["accuracy_std_over_seeds"] == pytest.approx(0.02)
    assert probed["accuracy_std_over_folds"] == pytest.approx(0.03)
    assert (probed["random_seeds"], probed["experiments"], probed["settings"]) == (3, "first second third", "")
    assert (tuned["method"], tuned["accuracy_std_over_seeds"]) == ("exemplar, fine-tuned", 0)


def test_one_random_seed_has_no_spread():
    """Experiments that differ in anything else besides are no repetition of one another."""
    assert over_random_seeds({}).empty
    assert over_random_seeds({}, SECOND | {"train.recipe": "modern"}).empty


def test_what_a_row_does_not_depend_on_is_no_difference():
    """Epochs of fine-tuning part the rows that are fine-tuned, and not those that are probed."""
    assert over_random_seeds({}, SECOND | {"finetune.epochs": 9})["method"].tolist() == ["exemplar"]


def test_lines_that_look_alike_say_in_what_they_differ():
    """Two sets of experiments make two lines of each row."""
    others = [each | {"seeds.count": 1000} for each in ({}, SECOND)]
    rows = over_random_seeds({}, SECOND, *others)
    assert rows["settings"].tolist() == ["seeds.count=500", "seeds.count=1000"] * 2
    assert rows["random_seeds"].tolist() == [2] * 4


def test_the_table_is_in_percent():
    """A line for each row, its cells as many as the head's."""
    head, rule, first, *_ = random_seeds.markdown_table(over_random_seeds({}, SECOND, THIRD)).splitlines()
    assert head.count("|") == rule.count("|") == first.count("|")
    assert "| photos | exemplar | 64c5-64c5-128f | photos | 72.0 ± 2.0 | 3 | 3.0 |" in first
