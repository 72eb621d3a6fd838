"""Records of evaluations as a table."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from exemplar.datasets.evaluation import Evaluation
from exemplar.report.comparison import flat_metrics, headline, markdown_table, metrics, percent, table

RECORD = Evaluation(
    dataset="stl10",
    method="exemplar",
    model="64c5-64c5-128f",
    readout="probe",
    accuracy=[0.6, 0.7, 0.8],
    class_accuracy=[0.5, 0.6, 0.7],
    knn_accuracy=[0.6, 0.7, 0.8],
    training_samples=1000,
    labels_for_choice=0,
    chosen=[{"C": 0.01}],
    classes=["cat", "dog"],
    confusion=[[9, 1], [3, 7]],
)


def test_a_row_sums_its_folds_up() -> None:
    """Mean and population standard deviation over the folds, as in the authors' release, beside the paper's number."""
    row = table([RECORD], unlabeled="stl10").iloc[0]
    assert row["accuracy_mean"] == pytest.approx(0.7)
    assert row["accuracy_std"] == pytest.approx(np.sqrt(0.02 / 3))
    assert row["class_accuracy_mean"] == pytest.approx(0.6)
    assert (row["folds"], row["training_samples"], row["C"]) == (3, 1000, 0.01)
    assert row["paper_accuracy"] == pytest.approx(0.671)
    assert row["paper_source"] == "Table 1"


def test_rows_keep_the_order_of_methods_within_each_dataset() -> None:
    """Datasets stand together, in the order in which they first appear; so do the methods within them."""
    names = [("stl10", "random"), ("photos", "random"), ("stl10", "exemplar"), ("photos", "exemplar")]
    rows = table([replace(RECORD, dataset=dataset, method=method) for dataset, method in names], unlabeled="stl10")
    assert list(zip(rows["dataset"], rows["method"], strict=True)) == [names[0], names[2], names[1], names[3]]


def test_what_the_paper_lacks_stays_empty() -> None:
    """No number of the paper is put beside data that it never saw, and no C beside a row without an SVM."""
    row = table([replace(RECORD, dataset="photos", knn_accuracy=None, chosen=[])], unlabeled="photos").iloc[0]
    assert math.isnan(row["paper_accuracy"])
    assert math.isnan(row["paper_std"])
    assert math.isnan(row["C"])
    assert row["paper_source"] == ""


def test_a_record_survives_json() -> None:
    """What a stage wrote as JSON comes back equal."""
    assert Evaluation(**json.loads(json.dumps(asdict(RECORD)))) == RECORD


def test_metrics_agree_with_the_table() -> None:
    """DVC sees the accuracies of the table, between 0 and 1, under dataset and method."""
    records = [RECORD, replace(RECORD, method="random", accuracy=[0.4, 0.5, 0.5])]
    rows = table(records, unlabeled="stl10").set_index("method")
    assert metrics(records) == {
        "stl10": {
            method: {
                "accuracy": rows.loc[method, "accuracy_mean"],
                "std": rows.loc[method, "accuracy_std"],
                "knn_accuracy": rows.loc[method, "knn_accuracy_mean"],
            }
            for method in ("exemplar", "random")
        }
    }


def test_percent_leaves_out_what_is_not_known() -> None:
    """A number without a spread stands alone, and no number is no text."""
    assert percent(0.713, 0.0204) == "71.3 ± 2.0"
    assert percent(0.713, math.nan) == "71.3"
    assert percent(math.nan, math.nan) == ""


def test_the_headline_compares_the_first_method_with_the_others() -> None:
    """Differences are in points, and only rows of the same dataset are compared."""
    others = [
        replace(RECORD, method="random", accuracy=[0.5]),
        replace(RECORD, readout="finetune", accuracy=[0.72]),
        replace(RECORD, dataset="photos", accuracy=[0.1]),
    ]
    rows = table([RECORD, *others], unlabeled="stl10")
    assert (
        headline(rows)
        == "On stl10, exemplar reaches 70.0 %: 20.0 points above random, 2.0 points below exemplar, fine-tuned."
    )
    level = table([RECORD, replace(RECORD, method="random", accuracy=[0.70004])], unlabeled="stl10")
    assert headline(level) == "On stl10, exemplar reaches 70.0 %: level with random."
    assert headline(table([RECORD], unlabeled="stl10")) == "On stl10, exemplar reaches 70.0 %."


def test_the_markdown_table_has_one_line_per_row() -> None:
    """Every line has the same number of cells, also when a folder's name holds the sign that divides them."""
    head, rule, *lines = markdown_table(
        table([RECORD, replace(RECORD, dataset="a|b", method="pixels")], unlabeled="stl10")
    ).splitlines()
    assert head.startswith("| dataset | method | model | accuracy (%) | k-NN (%) | the paper (%) | labels trained on |")
    assert {line.count("|") for line in (head, rule, *lines)} == {10}
    assert "| 70.0 ± 8.2 | 70.0 | 67.1 ± 0.2 (Table 1) | 1000 |" in lines[0]
    assert lines[0].endswith("| 3 |")
    assert lines[1].startswith("| a&#124;b | pixels |")


def test_rows_have_names_for_people_and_keys_for_programs() -> None:
    """An encoder that is fine-tuned is a row of its own, and fine-tuned random filters are supervised training."""
    records = [
        replace(RECORD, method=method, readout=readout)
        for method, readout in (("exemplar", "probe"), ("random", "finetune"), ("exemplar", "finetune"))
    ]
    assert table(records, unlabeled="stl10")["method"].tolist() == ["exemplar", "supervised", "exemplar, fine-tuned"]
    assert list(metrics(records)["stl10"]) == ["exemplar", "supervised", "exemplar-finetuned"]
    assert [name for name in flat_metrics(records) if "finetuned" in name and "knn" not in name] == [
        "stl10.exemplar-finetuned.accuracy",
        "stl10.exemplar-finetuned.accuracy_std",
    ]


def test_the_table_says_how_many_labels_chose_the_settings() -> None:
    """Beside those that a fold is trained on."""
    rows = table([replace(RECORD, labels_for_choice=4000)], unlabeled="stl10")
    assert markdown_table(rows).endswith("| 1000 | 4000 | 3 |\n")
