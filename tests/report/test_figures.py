"""Charts: small, the same every time, and without a trace in matplotlib's global state."""

import io
import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from exemplar.datasets.evaluation import Evaluation
from exemplar.report import comparison, figures

RECORD = Evaluation(
    dataset="stl10",
    method="exemplar",
    model="64c5-64c5-128f",
    readout="probe",
    accuracy=[0.6, 0.7],
    class_accuracy=[0.6, 0.7],
    knn_accuracy=[0.6, 0.7],
    training_samples=1000,
    labels_for_choice=0,
    chosen=[{"C": 0.01}],
    classes=["cat", "dog"],
    confusion=[[9, 1], [3, 7]],
    answers=["1111110000", "1111111000"],
)
ROWS = comparison.table(
    [RECORD, replace(RECORD, readout="finetune"), replace(RECORD, dataset="$a_b^{$")],
    unlabeled="stl10",
)


def curve(epochs: int) -> pd.DataFrame:
    """A learning curve with one drop of the learning rate."""
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "loss": 1 / epoch,
            "score": 1 - 1 / epoch,
            "held_out_score": 0.5,
            "chance": 0.1,
            "learning_rate": np.where(epoch < 3, 0.1, 0.01),
        }
    )


def test_bars_have_a_panel_per_dataset_and_the_papers_number_as_a_mark() -> None:
    """Names are shown as they are, also where they look like formulas."""
    figure = figures.accuracy_bars(ROWS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["stl10", "$a_b^{$"]
    (mark,) = [line for line in figure.axes[0].lines if line.get_label() == "the paper"]
    assert np.asarray(mark.get_xdata()) == pytest.approx([67.1, np.nan], nan_ok=True)
    bars = [bar.get_path().get_extents(bar.get_patch_transform()) for bar in figure.axes[0].patches]
    assert [bar.width for bar in bars] == pytest.approx([65, 65])


def test_the_same_numbers_make_the_same_file() -> None:
    """A figure's PNG is equal byte for byte, small, and a valid picture without a date."""
    first, second = (figures.png(figures.accuracy_bars(ROWS)) for _ in range(2))
    assert first == second
    assert len(first) < 50_000
    picture = Image.open(io.BytesIO(first))
    picture.load()
    assert picture.info == {}


def test_figures_leave_no_trace() -> None:
    """Drawing changes none of matplotlib's settings, and the module never opens its global interface."""
    before = dict(matplotlib.rcParams)
    figures.png(figures.learning_curves({"exemplar": curve(4)}))
    assert dict(matplotlib.rcParams) == before
    code = "import sys, exemplar.report.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("epochs", [1, 5, 40])
def test_curves_show_the_steps_of_the_learning_rate(epochs: int) -> None:
    """The learning rate is drawn as steps; a single epoch is still a visible dot."""
    figure = figures.learning_curves({"exemplar": curve(epochs), "random": curve(0)})
    loss, score, rate = figure.axes
    assert [len(axes.lines) for axes in (loss, score, rate)] == [1, 3, 1]  # held-out samples and chance
    assert rate.lines[0].get_drawstyle() == "steps-mid"
    assert (loss.lines[0].get_marker() == "o") == (epochs <= figures.EPOCHS_MARKED)
    assert len(figures.png(figure)) > 1000


def test_many_trainings_have_a_panel_each() -> None:
    """With its score, that of held-out rows and chance: ten losses of different tasks share no scale."""
    names = [f"task {number}" for number in range(7)]
    figure = figures.learning_curves({name: curve(3) for name in names} | {"random": curve(0)})
    assert [axes.get_title(loc="left") for axes in figure.axes] == names
    assert {len(axes.lines) for axes in figure.axes} == {3}
    assert figure.get_size_inches()[0] == figures.WIDTH_INCHES


def test_confusion_is_in_percent_of_the_true_class() -> None:
    """Rows sum to 100, and a class without a test image is a row of zeros."""
    figure = figures.confusion_matrix(np.array([[9, 1, 0], [3, 6, 1], [0, 0, 0]]), classes=["a", "b", "c"], title="t")
    shares = figure.axes[0].images[0].get_array()
    assert shares is not None
    assert shares.sum(axis=1).tolist() == pytest.approx([100, 100, 0])
    assert [text.get_text() for text in figure.axes[0].texts][:3] == ["90", "10", "0"]


def test_many_classes_are_coloured_and_not_named() -> None:
    """A matrix of 101 classes has no room for words."""
    names = [f"class {number}" for number in range(101)]
    figure = figures.confusion_matrix(np.eye(101, dtype=int), classes=names, title="caltech101")
    assert not figure.axes[0].texts
    assert len(figures.png(figure)) < 150_000
