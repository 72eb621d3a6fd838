"""What is counted, and how a record is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import evaluation
from exemplar.datasets.base import Labeled
from exemplar.datasets.evaluation import Evaluation
from exemplar.errors import UserError

RECORD = Evaluation(
    dataset="photos",
    method="exemplar",
    model="64c5-64c5-128f",
    readout="probe",
    accuracy=[0.9, 0.7],
    class_accuracy=[0.5, 0.75],
    knn_accuracy=[0.9, 0.7],
    training_samples=100,
    labels_for_choice=0,
    chosen=[{"C": 0.01}],
    classes=["chélsea", "rocket"],
    confusion=[[9, 1], [3, 7]],
    answers=["1111111110", "1111111000"],
)


def some(labels: list[int], test: list[list[int]]) -> Labeled:
    """A set of which only labels and folds matter."""
    return Labeled(
        images=np.zeros((len(labels), 3, 2, 2), np.uint8),
        labels=np.array(labels),
        train=np.zeros((len(test), 3), np.int64),
        test=np.array(test),
        classes=("a", "b", "c"),
    )


def test_accuracy_is_counted_per_fold() -> None:
    """Over all test images, and averaged over the classes that are tested in this fold."""
    labeled = some([0, 0, 0, 1, 1, 2], [[0, 1, 2, 3], [2, 3, 4, 5]])
    measured = evaluation.measure_accuracy(
        labeled, [np.array([0, 0, 1, 1]), np.array([2, 1, 1, 0])], chosen=[{"C": 0.5}] * 2
    )
    assert measured.accuracy == (3 / 4, 2 / 4)
    assert measured.class_accuracy == pytest.approx(((2 / 3 + 1) / 2, (0 + 1 + 0) / 3))
    assert measured.confusion.tolist() == [[2, 1, 1], [0, 3, 0], [1, 0, 0]]
    assert measured.answers == ("1101..", "..0110")
    assert measured.training_samples == 3
    assert measured.knn_accuracy is None
    knn = evaluation.measure_accuracy(
        labeled, [np.zeros(4, int)] * 2, by_neighbours=[np.array([0, 1, 1, 0]), np.zeros(4, int)]
    )
    assert knn.knn_accuracy == (1 / 4, 1 / 4)


def test_test_images_that_are_copies_of_training_images_are_counted() -> None:
    """By their pixels, in the fold with the most; a copy among the training images alone is none."""
    labeled = some([0, 1, 0, 1, 0, 1], [[3, 4, 5], [3, 4, 5]])
    images = np.arange(6 * 12).reshape(6, 3, 2, 2).astype(np.uint8)
    images[1] = images[0]
    labeled = replace(labeled, images=images, train=np.array([[0, 1], [1, 2]]))
    predictions = [np.zeros(3, int)] * 2
    assert evaluation.measure_accuracy(labeled, predictions).copies == 0
    images[3] = images[4] = images[2]
    assert evaluation.measure_accuracy(labeled, predictions).copies == 2


def test_confusion_has_a_row_per_true_class() -> None:
    """And a column per answer; its sum is the number of images, also where a class never occurs."""
    table = evaluation.count_confusion(np.array([0, 0, 2, 2]), np.array([0, 2, 2, 2]), classes=4)
    assert table.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]


def test_a_tracker_is_told_folds_curves_and_the_mean() -> None:
    """Folds and epochs are steps; the spread is the population's, as the paper reports it."""
    labeled = some([0, 1], [[0, 1], [0, 1]])
    curves = [[{"loss": 2.0}, {"loss": 1.0}], [{"loss": 3.0}]]
    measured = evaluation.measure_accuracy(labeled, [np.array([0, 1]), np.array([1, 1])], curves=curves)
    assert list(measured.steps()) == [
        (0, {"fold.accuracy": 1.0, "fold.class_accuracy": 1.0}),
        (1, {"fold.accuracy": 0.5, "fold.class_accuracy": 0.5}),
        (1, {"fold_1.loss": 2.0}),
        (2, {"fold_1.loss": 1.0}),
        (1, {"fold_2.loss": 3.0}),
        (0, {"accuracy": 0.75, "accuracy_std": 0.25}),
    ]
    neighbours = [np.array([0, 1]), np.array([1, 1])]
    measured = evaluation.measure_accuracy(
        labeled, neighbours, by_neighbours=neighbours, chosen=[{"C": 0.5}, {"C": 2.0, "name": "x"}]
    )
    assert list(measured.steps())[3:] == [
        (0, {"fold.knn_accuracy": 1.0}),
        (1, {"fold.knn_accuracy": 0.5}),
        (0, {"knn_accuracy": 0.75}),
        (0, {"fold.C": 0.5}),
        (1, {"fold.C": 2.0}),
    ]


def test_a_saved_record_is_loaded_as_it_was(tmp_path: Path) -> None:
    """As JSON, in a folder that is made where it is missing."""
    RECORD.save(tmp_path / "evaluations" / "record.json")
    assert Evaluation.load(tmp_path / "evaluations" / "record.json") == RECORD


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", '{"dataset": "photos"}', '{"unknown": 1}'])
def test_a_broken_record_says_what_to_do(tmp_path: Path, content: str | None) -> None:
    """Missing, cut short, or of another program."""
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(UserError, match=r"cannot read the evaluation .*record.json"):
        Evaluation.load(tmp_path / "record.json")


def test_answers_are_numbers_by_fold_and_image() -> None:
    """An image that a fold does not test has none there."""
    right = replace(RECORD, answers=["10.", ".01"]).right()
    np.testing.assert_array_equal(right, [[1, 0, np.nan], [np.nan, 0, 1]])


@pytest.mark.parametrize("answers", [["1111111110"], ["1111111110", "11111110"], ["1111111110", "11111112.."], []])
def test_answers_that_belie_the_accuracy_are_refused(tmp_path: Path, answers: list[str]) -> None:
    """Too few folds, folds of other images, signs of another kind."""
    replace(RECORD, answers=answers).save(tmp_path / "record.json")
    with pytest.raises(UserError, match=r"cannot use the evaluation .*record.json \(answers are not a line of"):
        Evaluation.load(tmp_path / "record.json")
