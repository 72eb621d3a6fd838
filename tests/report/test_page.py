"""The page that shows everything a pipeline found."""

from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from exemplar.datasets.evaluation import Evaluation
from exemplar.io.examples import Examples
from exemplar.report import answers, comparison, figures, likeness, page, paper, sheets, stamp
from exemplar.surrogate.ranges import RELEASE
from exemplar.tracking.sidecars import Sidecar

if TYPE_CHECKING:
    from playwright.sync_api import Page as BrowserTab

HOSTILE = '<img src=x onerror="alert(1)">&'
SETTINGS = {
    "model": "64c5-64c5-128f",
    "seeds": {"count": 20, "scales": [1.0, 0.8]},
    "note": HOSTILE,
}
ORIGIN = {"date": "26 November 2026", "commit": "0123abc", "machine": "a laptop, 2 cores", "duration": "3.4 minutes"}
MADE = {
    "train.exemplar": Sidecar("feed", 70.0, samples_per_second=60.0),
    "probe.photos.exemplar": Sidecar("beef", 12.5),
    f"finetune.{HOSTILE}.exemplar": None,
}
RECORD = Evaluation(
    dataset="photos",
    method="exemplar",
    model="64c5-64c5-128f",
    readout="probe",
    accuracy=[0.6, 0.7],
    class_accuracy=[0.6, 0.7],
    knn_accuracy=[0.6, 0.7],
    training_samples=100,
    labels_for_choice=0,
    chosen=[{"C": 0.01}],
    classes=["cat", HOSTILE],
    confusion=[[9, 1], [3, 7]],
    answers=["1111110000", "1111111000"],
)
RECORDS = [
    RECORD,
    replace(RECORD, method="pixels", model=""),
    replace(RECORD, dataset=HOSTILE, readout="finetune", knn_accuracy=None, chosen=[]),
]
CURVE = pd.DataFrame(
    {
        "epoch": [1, 2],
        "loss": [2.0, 1.5],
        "score": [0.1, 0.2],
        "held_out_score": [0.1, 0.15],
        "chance": [0.05, 0.05],
        "encoder_passes": [100, 100],
        "learning_rate": [0.1, 0.01],
    }
)
INVARIANCE = pd.DataFrame(
    [
        {"transformation": "angle_degrees", "magnitude": angle, "accuracy": 0.5, "accuracy_low": 0.4,
         "accuracy_high": 0.6, "distance_pooled": abs(angle) / 45,
         "dataset": dataset, "method": method}
        for dataset in ("photos", HOSTILE) for method in ("exemplar", "random") for angle in (-45, 0, 45)
    ]
)  # fmt: skip
MARKS = paper.invariance(unlabeled="stl10", ranges=asdict(RELEASE))
random = np.random.default_rng(0)
PICTURES: dict[str, Any] = {
    "filters": {"exemplar": random.normal(size=(8, 3, 5, 5)), "random": random.normal(size=(8, 3, 5, 5))},
    "exciting": {"exemplar": random.integers(0, 256, (4, 6, 3, 32, 32), dtype=np.uint8)},
    "seeds": random.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8),
    "samples": random.integers(0, 256, (3, 4, 3, 32, 32), dtype=np.uint8),
}


class Page(HTMLParser):
    """Collects a page's elements, the addresses they name and the text that a reader sees."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def write(**changes: Any) -> str:
    """Write the page of a small pipeline."""
    inputs: dict[str, Any] = {
        "records": RECORDS,
        "unlabeled": "photos",
        "curves": {"exemplar": CURVE, "random": CURVE.iloc[:0]},
        "invariance": INVARIANCE,
        "marks": MARKS.iloc[:0],
        "settings": SETTINGS,
        "made": MADE,
        "origin": ORIGIN,
        "changed": [],
        "stamp": "0123",
        **PICTURES,
    }
    return page.page(**{**inputs, **changes})


@pytest.fixture(scope="module")
def source() -> str:
    """The page, written once."""
    return write()


def test_the_page_needs_nothing_else(source: str) -> None:
    """All images are inside; there is no script, style sheet or font to load, and links lead to its own headings."""
    page = Page(source)
    links = [address for address in page.addresses if not address.startswith("data:")]
    assert links
    assert all(link.startswith("#") and f'id="{link[1:]}"' in source for link in links)
    with_paper = Page(write(records=[replace(RECORD, dataset="stl10")], unlabeled="stl10"))
    others = [address for address in with_paper.addresses if not address.startswith(("data:", "#"))]
    assert others == ["https://arxiv.org/abs/1406.6909"]
    assert page.elements.count("img") == 6 + INVARIANCE["dataset"].nunique() + len(RECORDS)
    assert "script" not in page.elements
    assert "url(" not in source
    assert "@import" not in source


def test_a_browser_shows_the_page_and_asks_no_other_host(source: str, tab: "BrowserTab", tmp_path: Path) -> None:
    """Every picture is drawn, nothing is wider than a phone allows, and the console stays silent."""
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    (tmp_path / "report.html").write_text(source, encoding="utf-8")
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto((tmp_path / "report.html").as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.get_by_role("table").first.is_visible()


def test_names_are_text_and_never_markup(source: str) -> None:
    """A folder may be called anything; the reader sees the name as it is."""
    assert HOSTILE not in source
    assert HOSTILE in Page(source).text


def test_the_page_says_all_numbers_settings_and_runs(source: str) -> None:
    """Headline, table, training, every parameter under its dotted name, and every MLflow run."""
    text = " ".join(Page(source).text.split())
    assert answers.headline(comparison.table(RECORDS, unlabeled="photos")) in text
    assert "26 November 2026 · 0123abc · a laptop, 2 cores · 3.4 minutes" in text
    assert "All are those of the params.yaml that is committed." in text
    for words in (
        "exemplar 2 1.500 0.200 0.150 0.050 200 60",
        "seeds.scales [1.0, 0.8]",
        "train.exemplar feed",
        "probe.photos.exemplar beef",
        "0.01 12.5",
        "View-Invariant K-means",
        "exemplar Exemplar-CNN, linear SVM 65.0",
        "pixels Raw pixels, linear SVM 65.0",
        "1.4 200",
        "Cost 200 passes of a patch through the encoder; 1.4 minutes",
    ):
        assert words in text


def test_the_page_names_the_settings_that_differ_from_the_committed_ones() -> None:
    """Their values there and here, before all settings, which are folded."""
    text = " ".join(Page(write(changed=[("train.epochs", 2, 9)])).text.split())
    assert "parameter committed here train.epochs 2 9 All settings in use" in text


def test_the_paper_has_a_column_only_where_it_has_a_number() -> None:
    """On data that it never saw there is nothing to compare with."""
    assert "the paper, %" not in Page(write()).text
    assert "the paper, %" in Page(write(records=[replace(RECORD, dataset="stl10")], unlabeled="stl10")).text


def test_neighbours_and_the_map_show_each_image_once(source: str) -> None:
    """An encoder's pictures use the same ones; those of another class are framed otherwise, and names are text."""
    view = likeness.View(np.full((3, 2), 0.5), np.array([[1, 2]]))
    alike = likeness.Likeness(
        dataset="photos",
        images=[f"data:image/jpeg;base64,{place}" for place in range(3)],
        classes=["cat", "cat", HOSTILE],
        colours={"cat": "hsl(0 70% 50%)", HOSTILE: "hsl(180 70% 50%)"},
        queries=np.array([0]),
        views={"exemplar": view, "random": view},
    )
    shown = write(likeness=alike)
    assert shown.count("data:image/jpeg;base64,1") == 1
    assert shown.count('href="#image-1"') == 2 + 2
    assert (shown.count('class="same"'), shown.count('class="other"')) == (2, 2)
    assert HOSTILE not in shown
    assert 'id="map"' in shown
    assert 'id="map"' not in source


def test_examples_stand_below_what_their_task_asks(source: str) -> None:
    """A part of a task has its own question; words are text, and a training without examples has no place there."""
    grey = np.full((2, 3, 8, 8), 128, np.uint8)
    turned = Examples.of("rotation", {"shown": grey, "the answer": grey}, {"the answer": [HOSTILE, "back by 90°"]})
    shown = write(examples={"rotation": [turned], "multi_task": [turned], "random": []})
    text = " ".join(Page(shown).text.split())
    assert text.count("by which of four quarter turns was a picture turned (Gidaris, Singh and Komodakis") == 2
    assert "multi_task, its part rotation" in text
    assert text.count("back by 90°") == 2
    assert HOSTILE not in shown
    assert shown.count('<table class="examples"') == 2
    assert "What each training asks" not in source


def test_rows_stand_in_families_and_say_whether_a_difference_is_shown() -> None:
    """From random filters, in the table and in sentences below it."""
    records = [RECORD, replace(RECORD, method="rotation"), replace(RECORD, method="random")]
    text = " ".join(Page(write(records=records)).text.split())
    assert "above random, points" in text
    assert "chance 50.0 % pretext tasks exemplar" in text
    assert "controls random" in text
    assert text.count("+0.0 +0.0 to +0.0 may be chance") == 2
    assert "exemplar is level with rotation (the best other task)" in text


def test_runs_are_links_into_mlflow() -> None:
    """Those that are in this store."""
    page = Page(write(run_pages="http://127.0.0.1:5000/#/experiments/1/runs/"))
    links = [address for address in page.addresses if address.startswith("http")]
    assert links == [f"http://127.0.0.1:5000/#/experiments/1/runs/{identity}" for identity in ("feed", "beef")]


def test_the_stand_in_is_called_what_it_is(source: str) -> None:
    """`photos` is no benchmark, and a page without it does not speak of it."""
    assert "no benchmark" in source
    assert "no benchmark" not in write(records=[replace(RECORD, dataset="stl10")])


def test_copies_across_training_and_test_are_told() -> None:
    """Of the dataset that has them, and of no other."""
    assert "copies of training images" not in write()
    told = write(records=[RECORD, replace(RECORD, dataset="folder", copies=3)])
    assert "<b>folder</b>: in a fold, up to 3 test images are copies of training images" in told
    assert told.count("copies of training images") == 1


def test_diamonds_are_explained_where_they_are_drawn(source: str) -> None:
    """The paper has numbers of invariance for STL-10; a page without that set does not speak of them."""
    assert "Diamonds" not in source
    assert "Diamonds" not in write(marks=MARKS)
    shown = write(marks=MARKS, invariance=pd.concat([INVARIANCE, INVARIANCE.assign(dataset="stl10")]))
    assert Page(shown).text.count("Diamonds") == 1


def test_the_same_results_make_the_same_page(source: str) -> None:
    """There is no date and no chance in it."""
    assert write() == source


def test_encoders_without_training_have_no_curves() -> None:
    """A comparison of random filters and raw pixels has nothing to draw there."""
    page = Page(
        write(records=[replace(RECORD, method="random")], curves={"random": CURVE.iloc[:0]}, filters={}, exciting={})
    )
    assert "Learning curves" not in page.text
    assert "First-layer filters" not in page.text
    assert "What excites units" not in page.text


def test_what_was_made_elsewhere_has_neither_seconds_nor_a_run(source: str) -> None:
    """DVC restores a result from its cache without the sidecar that says how it was made."""
    assert " ".join(Page(source).text.split()).count("made elsewhere") == 3, "two rows' seconds, and a run"


def test_a_page_knows_which_results_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is current until params.yaml, the table or a figure is another one, and again when they come back."""
    monkeypatch.chdir(tmp_path)
    files = [Path("params.yaml"), Path("results/comparison.csv"), Path("results/figures/overview.png")]
    Path("results/figures").mkdir(parents=True)
    for file in files:
        file.write_text("one")
    assert not stamp.is_current(Path("results"))
    Path("results/report.html").write_text(write(stamp=stamp.stamp_of(Path("results"))), encoding="utf-8")
    assert stamp.is_current(Path("results"))
    for file in files:
        file.write_text("two")
        assert not stamp.is_current(Path("results"))
        file.write_text("one")
    assert stamp.is_current(Path("results"))


def test_the_overview_is_wide_and_small() -> None:
    """One picture for the README, below 300 kB."""
    figure = sheets.overview(
        table=comparison.table(RECORDS, unlabeled="photos"),
        seeds=PICTURES["seeds"],
        samples=PICTURES["samples"],
        filters=PICTURES["filters"]["exemplar"],
    )
    width, height = figure.get_size_inches()
    assert width > 3 * height
    assert len(figures.png(figure)) < 300_000
