"""Seeds and their windows are the same bytes for any number of processes, with a cluster, and after kills."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exemplar.datasets.folder import write_unlabeled
from exemplar.io.arrays import map_array
from exemplar.runtime.workers import SCHEDULER
from exemplar.surrogate import build, seeds
from exemplar.surrogate.seeds import Seeds

KILLS = int(os.environ.get("KILLS", "20"))
IMAGES = 300
PIECES = {"IMAGES": 40, "CHUNK": 16}


def cut(folder: Path, *, count: int = 500) -> tuple[Seeds, bytes]:
    """The seeds of the images there, more than one of each, and the windows that are written for them."""
    images = map_array(folder / "images.npy", kind=np.uint8, shape=(None, 3, None, None), remedy="")
    found = seeds.draw(images, count=count, scales=[1.0, 0.8], most_overlap=0.5, random_seed=3, kept=folder / "kept")
    build.cut_windows(images, found, reach=1.2, folder=folder / "kept")
    return found, (folder / "kept" / build.WINDOWS_FILE).read_bytes()


def prepare(folder: Path) -> Path:
    """A folder with images, and one for what is kept."""
    (folder / "kept").mkdir(parents=True)
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 64, 80), np.uint8))
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of a few images."""
    for name, value in PIECES.items():
        monkeypatch.setattr(seeds, name, value)
    monkeypatch.setattr(build, "WINDOWS", 70)


def assert_same(one: tuple[Seeds, bytes], other: tuple[Seeds, bytes]) -> None:
    for name in ("image", "centre", "side"):
        np.testing.assert_array_equal(getattr(one[0], name), getattr(other[0], name))
    assert one[1] == other[1]


def test_two_processes_and_one_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And what is there already is only read: a second time nothing in the folder changes."""
    found = []
    for number in (1, 2):
        monkeypatch.setenv("EXEMPLAR_THREADS", str(number))
        found.append(cut(prepare(tmp_path / str(number))))
    assert_same(*found)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / "kept").rglob("*")}
    assert_same(cut(tmp_path / "1"), found[0])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / "kept").rglob("*")} == before


def in_files(pictures: dict[str, bytes], folder: Path) -> None:
    """Write each picture into a file of its own."""
    for name, content in pictures.items():
        (folder / name).write_bytes(content)


def in_shards(count: int, pictures: dict[str, bytes], folder: Path) -> None:
    """Write pictures into so many tar shards of about equal size, in their order."""
    for number, names in enumerate(np.array_split(list(pictures), count)):
        with tarfile.open(folder / f"{number:05}.tar", "w") as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(pictures[name])
                tar.addfile(info, io.BytesIO(pictures[name]))


def test_windows_do_not_depend_on_how_pictures_are_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files, one tar shard and seven: seeds and windows are the same bytes."""
    monkeypatch.setenv("EXEMPLAR_THREADS", "1")
    pictures, dice, found = dict[str, bytes](), np.random.default_rng(0), []
    for number in range(30):
        encoded = io.BytesIO()
        Image.fromarray(dice.integers(0, 256, (64, 80, 3), np.uint8)).save(encoded, "PNG")
        pictures[f"{number:05}.png"] = encoded.getvalue()
    for number, write in enumerate((in_files, partial(in_shards, 1), partial(in_shards, 7))):
        tree, folder = tmp_path / f"tree{number}", tmp_path / f"set{number}"
        tree.mkdir()
        (folder / "kept").mkdir(parents=True)
        write(pictures, tree)
        write_unlabeled(tree, folder, side=64, train_per_class=1, folds=1, skip_broken=False)
        found.append(cut(folder, count=50))
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def killed_once(mark: Path, *given: Any) -> tuple[np.ndarray, np.ndarray]:
    """The windows of a unit, the last one given; at the third one the process is killed, once."""
    if given[-1].rows.start == 140 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return build.windows_of(*given)


def test_a_cluster_gives_the_same_bytes_though_a_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One of two, in the middle of the windows: they map the images and write the windows, in the folder they share."""
    distributed = pytest.importorskip("distributed")
    alone, mark = cut(prepare(tmp_path / "alone")), tmp_path / "killed"
    monkeypatch.setattr(build, "windows_of", partial(killed_once, mark))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        monkeypatch.setenv(SCHEDULER, cluster.scheduler_address)
        assert_same(cut(prepare(tmp_path / "cluster")), alone)
    assert mark.exists()


@pytest.mark.soak
@pytest.mark.timeout(36_000)
def test_kills_of_the_cut_change_no_byte(tmp_path: Path):
    """KILLS that met it at work, in one process and in two; each time it goes on from what is whole."""
    whole, dice, met, number = cut(prepare(tmp_path / "whole")), random.Random(0), 0, 0
    while met < KILLS:
        number += 1
        folder = prepare(tmp_path / str(number))
        kills, processes = min(5, KILLS - met), str(1 + number % 2)
        while kills:
            met += (killed := kill(folder, after=dice.randrange(1, 12), processes=processes))
            kills -= 1 if killed else kills
        assert_same(cut(folder), whole)


def kill(folder: Path, *, after: int, processes: str) -> bool:
    """Begin or go on, and be killed with the processes that were started after so many units; whether it was."""
    environment = {**os.environ, "EXEMPLAR_THREADS": processes, "PYTHONPATH": str(Path.cwd())}
    words = [sys.executable, __file__, str(folder), str(after)]
    return subprocess.run(words, env=environment, check=False).returncode == -signal.SIGKILL


def main() -> None:
    """Cut in small units, and be killed from outside the flow of the program once so many files have been kept."""
    folder, after = Path(sys.argv[1]), int(sys.argv[2])
    for name, value in PIECES.items():
        setattr(seeds, name, value)
    build.WINDOWS = 70
    watcher = "import os, sys, time\nfrom pathlib import Path\nnumber, folder, most = sys.argv[1:]\n"
    watcher += "while len(list(Path(folder).rglob('*'))) < int(most): time.sleep(0.0005)\nos.kill(int(number), 9)\n"
    already = len(list((folder / "kept").rglob("*")))
    with subprocess.Popen(
        [sys.executable, "-c", watcher, str(os.getpid()), folder / "kept", str(already + after)]
    ) as one:
        cut(folder)
        one.kill()


if __name__ == "__main__":
    main()
