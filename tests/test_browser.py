"""What MLflow's pages show to whoever opens them at the addresses that `make ui` prints."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from tracked import MODEL, NAME, draw, evaluate, measured_on, train

from exemplar.tracking import runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
ACCURACIES = (0.55, 0.63, 0.6)  # of three trainings
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, browser: object) -> Iterator[Path]:
    """A repository with 24 runs: three trainings, their evaluations and comparisons, and random filters."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("DVC_STAGE", "train")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        measured_on(1)
        for random_seed, accuracy in enumerate(ACCURACIES):
            encoder = draw(random_seed)
            made = [
                train(encoder),
                evaluate(encoder, accuracy),
                evaluate(encoder, accuracy - 0.03, readout="finetune"),
                evaluate(encoder, accuracy - 0.2, dataset="stl10"),
            ]
            with runs.run(stage="compare", name="compare", parameters={}, inputs=[]) as run:
                run.nest(made)
        for percent in range(20, 29):
            evaluate(draw(9), percent / 100)
        yield folder


@pytest.fixture(scope="module")
def table(repository: Path) -> Iterator[str]:
    """The address that `make ui` prints, while it serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "stages.ui", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as shown:
        assert shown.stdout
        address = shown.stdout.readline().decode().partition(": ")[2].strip()
        while shown.poll() is None:
            with suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}/health", timeout=60).close()
                break
            time.sleep(0.2)
        yield address
        shown.terminate()


def read(tab: "Page", address: str, *, until: str) -> str:
    """The text of a page once it shows a text."""
    tab.goto(address)
    tab.get_by_text(until).first.wait_for()
    return " ".join(tab.locator("body").inner_text().split())


def test_the_printed_address_shows_all_evaluations_best_first(table: str, tab: "Page"):
    """A row for each with its dataset, and none for trainings and comparisons."""
    assert "photos (111111111111)" in read(tab, table, until="0.28")
    cells = tab.locator("[role=gridcell][col-id='metrics.`accuracy`']").all_inner_texts()
    shown = [float(text) for text in cells]
    assert shown == sorted(shown, reverse=True)
    assert (len(shown), shown[0]) == (18, max(ACCURACIES))


def test_the_page_of_a_model_shows_its_champion_and_its_card(table: str, tab: "Page"):
    """The card has the results, and the alias stands beside the best version."""
    server = table.partition("#")[0]
    versions = read(tab, f"{server}#/models/{NAME}", until="Version 1")
    assert versions.index("Version 2") < versions.index("@ champion") < versions.index("Version 1")
    card = read(tab, f"{server}#/models/{NAME}/versions/2", until="Licence")
    for said in (f"The network {MODEL}", "63.0 ± 1.0", "linear SVM on its features", "@champion"):
        assert said in card
