"""All experiments as one table."""

import pandas as pd
import pytest

from exemplar.errors import UserError
from exemplar.report import experiments

BASE = {
    "Experiment": "", "rev": "main", "typ": "baseline", "model": "64c5-64c5-128f", "random_seed": "0",
    "seeds.scales": "[1.0, 0.8]", "photos.exemplar.accuracy": "", "photos.exemplar.std": "", "exemplar/report": "0f",
    "photos.exemplar-finetuned.accuracy": "", "stl10.exemplar.accuracy": "",
}  # fmt: skip
NOW = BASE | {"rev": "workspace", "photos.exemplar.accuracy": "0.603", "photos.exemplar-finetuned.accuracy": "0.54"}
TRIED = NOW | {
    "Experiment": "moved-orca", "rev": "1234567", "typ": "branch_commit", "random_seed": "1",
    "seeds.scales": "[1.0, 0.5]", "photos.exemplar.accuracy": "0.61", "exemplar/report": "10",
}  # fmt: skip
FAILED = TRIED | {"Experiment": "sunk-orca", "photos.exemplar.accuracy": "!", "photos.exemplar-finetuned.accuracy": ""}


def listed(*rows: dict[str, str]) -> list[experiments.Line]:
    """What is read from what DVC prints."""
    return experiments.read(pd.DataFrame(rows).to_csv(index=False))


def test_an_experiment_says_what_was_changed_and_what_it_reached():
    """Changed is what differs from the commit that it began at; code and results are no settings."""
    here, tried = listed(NOW, BASE, TRIED, FAILED)
    assert (here.name, here.random_seed, here.changed) == ("workspace", "0", {})
    assert here.accuracy == {"photos": {"exemplar": 0.603, "exemplar-finetuned": 0.54}}
    assert (tried.name, tried.changed) == ("moved-orca", {"random_seed": "1", "seeds.scales": "[1.0, 0.5]"})


def test_the_table_is_at_most_a_hundred_columns_wide():
    """However many rows a comparison has and however much was changed; the random seed comes last."""
    many = TRIED | {f"photos.method{number}.accuracy": "0.5" for number in range(9)}
    many |= {f"train.key{number}": "a long value" for number in range(9)}
    many |= {"photos.relative_location.accuracy": "0.5"}
    text = experiments.as_text(listed(BASE | dict.fromkeys(many.keys() - BASE.keys(), ""), many))
    assert max(map(len, text.splitlines())) <= experiments.WIDTH
    assert all(f"method{number}" in text for number in range(9))
    assert "relative_" in text  # a long name stands on two lines, and touches no other
    assert text.count("random_seed=1") == 1  # what was changed is said once, above rows that follow below


def test_a_dataset_has_a_part_of_its_own():
    """Rows that an experiment lacks have a dash."""
    text = experiments.as_text(listed(NOW, BASE, TRIED | {"stl10.exemplar.accuracy": "0.7"}))
    first, second = text.split("\n\n")
    assert first.splitlines()[1:3] == [
        "photos, %                  exemplar   fine-tuned",
        "workspace                      60.3         54.0",
    ]
    assert "workspace" not in second
    assert "moved-orca                     70.0" in second
    lacking = experiments.as_text(listed(NOW, BASE, TRIED | {"photos.exemplar-finetuned.accuracy": ""}))
    assert "moved-orca                     61.0            –" in lacking


def test_without_results_it_says_what_makes_them():
    """A fresh clone has none."""
    assert experiments.as_text(listed(BASE)) == "there are no results yet; make repro makes them"


def test_another_text_is_refused():
    """In one line."""
    with pytest.raises(UserError, match="'fatal: no repository' is no table of experiments"):
        experiments.read("fatal: no repository")


def test_experiments_that_differ_in_their_random_seed_alone_are_pooled():
    """Mean with its interval, and the spread over the seeds; the workspace comes last."""
    reached = {"0": "0.60", "1": "0.62", "2": "0.64"}
    base = BASE | {"photos.exemplar.margin": ""}
    seeds = [
        base | {"Experiment": f"seed-{seed}", "typ": "branch_commit", "random_seed": seed,
                "photos.exemplar.accuracy": accuracy, "photos.exemplar.margin": "0.03"}
        for seed, accuracy in reached.items()
    ]  # fmt: skip
    here = base | {"rev": "workspace", "photos.exemplar.accuracy": "0.9"}
    lines = listed(here, base, *seeds)
    (group,) = experiments.repeated(lines, "photos")
    assert [line.name for line in group] == ["seed-0", "seed-1", "seed-2"]
    mean, spread, margin = experiments.pooled(group, "photos", "exemplar")
    assert (mean, spread) == (pytest.approx(0.62), pytest.approx(0.02))
    assert margin == pytest.approx(((4.3027 * 0.02) ** 2 / 3 + 0.03**2) ** 0.5, rel=1e-4)
    assert "3 seeds, ± of 95 %       62.0 ± 5.8" in experiments.as_text(lines)
    assert not list(experiments.repeated(lines[:2], "photos"))
