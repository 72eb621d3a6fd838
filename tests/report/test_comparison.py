"""Records of evaluations as a table."""

import json
import math
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from exemplar.datasets.evaluation import Evaluation
from exemplar.datasets.intervals import Interval, span
from exemplar.report.comparison import (
    ends,
    flat_metrics,
    markdown_table,
    metrics,
    percent,
    signed,
    table,
)

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
    answers=["1111110000", "1111111000", "1111111100"],
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
                "margin": rows.loc[method, "accuracy_margin"],
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


def answering(name: str, share: float, readout: str = "probe") -> Evaluation:
    """A row that is right about this share of 100 test images in each of three folds, the same images in all."""
    answers = ["1" * round(100 * share) + "0" * (100 - round(100 * share))] * 3
    return replace(RECORD, method=name, readout=readout, accuracy=[share] * 3, answers=answers)


def test_differences_are_from_the_first_row_of_the_dataset() -> None:
    """Where it stands itself there is none."""
    rows = table([answering("exemplar", 0.7), answering("random", 0.5)], unlabeled="stl10")
    assert math.isnan(rows["difference"][0])
    assert rows["difference"][1] == pytest.approx(-0.2)
    assert signed(rows["accuracy_mean"][1], rows["accuracy_mean"][0]) == "−20.0"
    assert ends(Interval(-0.2, 0.08)) == "−28.0 to −12.0"
    assert span(0.98, 0.05) == "93.0 to 100.0"


def test_the_markdown_table_has_one_line_per_row() -> None:
    """Every line has the same number of cells, also when a folder's name holds the sign that divides them."""
    head, rule, *lines = markdown_table(
        table([RECORD, replace(RECORD, dataset="a|b", method="pixels")], unlabeled="stl10")
    ).splitlines()
    assert head.startswith(
        "| dataset | method | model | accuracy (%) ± spread over the folds | 95 % interval | k-NN (%) |"
    )
    assert {line.count("|") for line in (head, rule, *lines)} == {11}
    assert re.search(r"\| 70.0 ± 8.2 \| [\d.]+ to [\d.]+ \| 70.0 \| 67.1 ± 0.2 \(Table 1\) \| 1000 \|", lines[0])
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
        "stl10.exemplar-finetuned.accuracy_margin",
    ]


def test_the_table_says_how_many_labels_chose_the_settings() -> None:
    """Beside those that a fold is trained on."""
    rows = table([replace(RECORD, labels_for_choice=4000)], unlabeled="stl10")
    assert markdown_table(rows).endswith("| 1000 | 4000 | 3 |\n")
