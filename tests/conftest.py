"""What the tests of the upper layers share: ranges, and sets so small that a network trains on them in a moment.

Nothing of the package is imported before a test needs it: pytest loads this file before the types are checked.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from exemplar.datasets.base import Labeled
    from exemplar.runtime.device import Compute
    from exemplar.surrogate.ranges import Ranges
    from exemplar.surrogate.sets import SurrogateSet

LONGEST = ("test_tutorial.py", "test_pipeline.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, beside which all others run."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def release() -> "Ranges":
    """The ranges of the authors' release."""
    from exemplar.surrogate.ranges import RELEASE

    return RELEASE


@pytest.fixture(scope="session")
def geometric(release: "Ranges") -> "Ranges":
    """The release's shifts, scales and rotations, and colours as they are."""
    from exemplar.surrogate.ranges import geometry_alone

    return geometry_alone(release)


@pytest.fixture(scope="session")
def neutral(geometric: "Ranges") -> "Ranges":
    """Ranges that change nothing."""
    return replace(geometric, shift_fraction=(0.0, 0.0), scale_factor=(1.0, 1.0), angle_degrees=(0.0, 0.0))


@pytest.fixture(scope="session")
def compute() -> "Compute":
    """The same arithmetic on every machine."""
    from exemplar.runtime.device import Compute

    return Compute(torch.device("cpu"), torch.float32)


def coloured(labels: np.ndarray, *, side: int) -> np.ndarray:
    """Images of noise in which the label's channel is bright."""
    images = np.random.default_rng(1).integers(0, 128, (len(labels), 3, side, side), np.uint8)
    images[np.arange(len(labels)), labels] += 128
    return images


@pytest.fixture(scope="session")
def labeled() -> "Labeled":
    """Three classes that their colour tells apart, in three folds of two training and four test images a class."""
    from exemplar.datasets.base import Labeled

    labels = np.arange(30) % 3
    return Labeled(
        images=coloured(labels, side=40),
        labels=labels,
        train=np.arange(18).reshape(3, 6),
        test=np.tile(np.arange(18, 30), (3, 1)),
        classes=("red", "green", "blue"),
    )


@pytest.fixture(scope="session")
def surrogate_set(geometric: "Ranges") -> "SurrogateSet":
    """Three surrogate classes that their colour tells apart, 20 samples each."""
    from exemplar.surrogate import build
    from exemplar.surrogate.seeds import Seeds

    seeds = Seeds(image=np.arange(3), centre=np.full((3, 2), 48.0), side=np.array([32.0, 40.0, 50.0]))
    images = coloured(np.arange(3), side=96)
    built, _ = build.build(images, seeds, samples=20, ranges=geometric, random_seed=0)
    return built


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder of three layers, saved."""
    import torch

    from exemplar.models.architecture import parse
    from exemplar.models.initial import draw_encoder
    from exemplar.models.saved import save_encoder

    path = tmp_path_factory.mktemp("encoders") / "small.safetensors"
    generator = torch.Generator().manual_seed(0)
    save_encoder(draw_encoder(parse("4c5-4c5-8f"), mean=torch.full((3, 32, 32), 0.4), generator=generator), path)
    return path


# A browser that talks to nobody but the pages it is shown.
QUIET = ("quic", "gpu", "background-networking", "component-update", "sync", "default-apps", "extensions")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[BrowserContext]":
    """The machine's Chromium without a window; without one, or without Playwright, its tests are skipped."""
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("there is no Chromium")
    with driver.sync_playwright() as started:
        arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
        profile = tmp_path_factory.mktemp("profile")
        context = started.chromium.launch_persistent_context(profile, executable_path=chromium, args=arguments)
        context.set_default_timeout(120_000)
        yield context
        context.close()


@pytest.fixture
def tab(browser: "BrowserContext") -> "Iterator[Page]":
    """A tab of that browser."""
    opened = browser.new_page()
    yield opened
    opened.close()
