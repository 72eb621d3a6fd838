"""Seeds and their windows cut out of 100,000 images on disk: time and memory."""

import os
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import material
from benchmarks.measure import LackingError, Rows, Works, check_same, in_process, limit, pair
from exemplar.io.arrays import map_array
from exemplar.runtime import machine
from exemplar.surrogate import build, seeds
from exemplar.surrogate.ranges import RELEASE
from exemplar.surrogate.seeds import Seeds

IMAGES, COUNT = 100_000, 16_000
SCALES = (1.0, 0.8, 0.64, 0.512)


def works(*, quick: bool, repeats: int) -> Works:
    """Two rows for the seeds, two for the windows of one seed of each image, three for both in several processes."""
    yield partial(measure, quick=quick, repeats=repeats)
    yield partial(measure_windows, quick=quick, repeats=repeats)
    yield partial(measure_both, quick=quick)


def measure(*, quick: bool, repeats: int) -> Rows:
    """The same draw in as many fresh processes."""
    images, count = (2_000, 300) if quick else (IMAGES, COUNT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        material.write_images(path, images)
        found = [in_process(draw, path, count) for _ in range(repeats)]
    yield limit(f"seeds of {images:,} images of 96 x 96", [spent for spent, _ in found], most=60, unit="s")
    yield limit("the same: memory beside the mapped images", [peak for _, peak in found], most=1.5, unit="GB")


def draw(path: Path, count: int) -> float:
    """The seconds for so many seeds, one each of different images and inside them."""
    images = mapped(path)
    started = time.perf_counter()
    drawn = seeds.draw(images, count=count, scales=SCALES, most_overlap=None, random_seed=0)
    spent = time.perf_counter() - started
    inside = (np.abs(drawn.centre - material.SIDE / 2) + drawn.side[:, None] / 2 <= material.SIDE / 2 + 4).all()
    check_same("seeds", bool(inside) and len(np.unique(drawn.image)) == count)
    return spent


def measure_windows(*, quick: bool, repeats: int) -> Rows:
    """The same windows in as many fresh processes."""
    images = 2_000 if quick else IMAGES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        material.write_images(path, images)
        found = [in_process(cut, path, Path(folder) / str(number)) for number in range(repeats)]
    yield limit(f"windows of {images:,} images of 96 x 96", [spent for spent, _ in found], most=90, unit="s")
    yield limit("the same: memory beside mapped files", [peak for _, peak in found], most=1.5, unit="GB")


def cut(images_file: Path, folder: Path) -> float:
    """The seconds for the windows of one seed in the middle of each image, written to a file."""
    images = mapped(images_file)
    centre = np.full((len(images), 2), material.SIDE / 2)
    found = Seeds(image=np.arange(len(images)), centre=centre, side=np.resize(np.array(material.SIDES), len(images)))
    started = time.perf_counter()
    windows, _ = build.cut_windows(images, found, reach=build.reach(RELEASE), folder=folder)
    spent = time.perf_counter() - started
    check_same("windows", np.array_equal(windows[0], images[0]))  # a seed of 32 pixels is not smoothed
    return spent


def mapped(path: Path) -> np.ndarray:
    """The images as the stages see them."""
    return map_array(path, kind=np.uint8, shape=(None, 3, None, None), remedy="")


def measure_both(*, quick: bool) -> Rows:
    """A tenth of a million images that give a seed and its window each: in as many processes as threads, and in one.

    What is asked of a million is 15 minutes and 1.5 GB on two cores.
    """
    images, most = 2_000 if quick else IMAGES, machine.threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        material.write_images(path, images)
        os.sync()  # else the disk still writes them while the first of the two is timed
        several, peak = in_process(draw_and_cut, path, Path(folder) / "several", most)
        yield limit(f"seeds and windows of {images:,} images in {most} processes", [several], most=90, unit="s")
        yield limit("the same: memory of all processes beside mapped files", [peak], most=1.5, unit="GB")
        if most < 2:
            raise LackingError("one core: whether several processes are faster is not seen")
        alone, _ = in_process(draw_and_cut, path, Path(folder) / "alone", 1)
        windows = [(Path(folder) / name / build.WINDOWS_FILE).read_bytes() for name in ("several", "alone")]
        check_same("windows of several processes and of one", windows[0] == windows[1])
    row = f"the same in {most} processes and in one"
    yield pair(row, [several], [alone], ratios=[alone / several], unit="s", target=0.9 * most)


def draw_and_cut(images_file: Path, folder: Path, processes: int) -> float:
    """The seconds for a seed of each image and its window, in so many processes."""
    os.environ["EXEMPLAR_THREADS"] = str(processes)
    images = mapped(images_file)
    started = time.perf_counter()
    drawn = seeds.draw(images, count=len(images), scales=SCALES, most_overlap=0.3, random_seed=0, kept=folder)
    build.cut_windows(images, drawn, reach=build.reach(RELEASE), folder=folder)
    return time.perf_counter() - started
