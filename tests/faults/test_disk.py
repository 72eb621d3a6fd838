"""Disks that are full or read-only, paths that are long, clocks that jump: one clear line, or it just works."""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small import classifier, same_weights, sampled, timeless, training

from exemplar.errors import UserError
from exemplar.io import unfinished
from exemplar.io.arrays import make_array
from exemplar.io.atomic import replacing
from exemplar.runtime import units
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet
from exemplar.tracking import runs, store
from exemplar.training.checkpoints import Checkpoint

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own in `folder`; the test is skipped where this user may not mount one."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting needs more rights: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    with mounted(tmp_path / "small", "-o", "size=1m") as folder:
        yield folder


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Path]:
    """A disk that is read-only, also for root."""
    with mounted(tmp_path / "frozen", "-o", "ro") as folder:
        yield folder


WORK: dict[str, Any] = {"stage": "train", "name": "x", "parameters": {}, "inputs": []}
MEGABYTES = torch.ones(1 << 20)
WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * (2 << 20)),
    "numpy": lambda path: (path.mkdir(), np.save(path / "array.npy", MEGABYTES.numpy())),
    "mapped": lambda path: (path.mkdir(), make_array(path / "array.npy", (2 << 20,), np.uint8)),
    "safetensors": lambda path: save_file({"weights": MEGABYTES}, path),
    "torch": lambda path: torch.save(MEGABYTES, path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_the_earlier_result(small: Path, write: Callable[[Path], object]) -> None:
    """Whoever writes, it is the system's error, which stages tell on one line, and no half of a file is left."""
    (small / "result").write_text("earlier")
    with pytest.raises(OSError, match="No space left") as told, replacing(small / "result") as temporary:
        write(temporary)
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(small / "result"))
    assert [path.name for path in small.iterdir()] == ["result"]
    assert (small / "result").read_text() == "earlier"


def test_a_disk_without_room_for_all_images_is_told_before_any_is_made(small: Path) -> None:
    """Or for all windows: the error names their file, and nothing is left of it."""
    pieces = [units.Unit(rows, None) for rows in units.ranges(200, 100)]
    with pytest.raises(OSError, match="No space left") as told:
        units.fill(
            small / "images.npy", pytest.fail, pieces, shape=(200, 10_000), kind=np.uint8, things="images", label="test"
        )
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(small / "images.npy"))
    assert not list(small.iterdir())


def test_a_full_disk_does_not_stop_a_training(
    small: Path, compute: Compute, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint is told missing once, the one before it serves, and once there is room the next one is written."""
    kept = Checkpoint(small / "state.pt", compute)
    kept.save({"number": 1})
    (small / "ballast").write_bytes(b"x" * (1 << 19))
    for _ in range(3):
        kept.save({"number": 2, "weights": MEGABYTES})
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"warning: cannot write the checkpoint {kept.path} (No space left on device)")
    seen: list[dict[str, object]] = []
    assert kept.load(seen.append)
    (small / "ballast").unlink()
    kept.save({"number": 3})
    assert kept.load(seen.append)
    assert [content["number"] for content in seen] == [1, 3]


def test_a_disk_without_room_for_the_rows_of_all_classes_is_told_before_the_training(
    small: Path, surrogate_set: SurrogateSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are mapped from a file where memory is short; what was taken for it is free again."""
    monkeypatch.setattr("exemplar.training.rows.SHARE_OF_MEMORY", 0.0)
    (small / "ballast").write_bytes(b"x" * ((1 << 20) - (1 << 12)))
    with pytest.raises(UserError, match=r"^rows of classes need .* GB of disk in .* \(No space left on device\)"):
        sampled(surrogate_set, checkpoint=small / "state.pt")
    (small / "ballast").unlink()
    assert sampled(surrogate_set, checkpoint=small / "state.pt").tables[0].is_mapped


def test_a_read_only_disk_is_told(frozen: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the results, by the checkpoint's folder and by the store, before any work begins."""
    with pytest.raises(OSError, match="Read-only") as told, replacing(frozen / "result") as temporary:
        temporary.write_text("x")
    assert told.value.errno == errno.EROFS
    monkeypatch.setenv("DVC_ROOT", str(frozen))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(OSError, match="Read-only"), unfinished.work_folder("compare", settings={}, inputs=[]):
        pytest.fail("the work must not start")
    with pytest.raises(UserError) as said, runs.run(**WORK):
        pytest.fail("the work must not start")
    assert "Read-only" in str(said.value)
    assert "\n" not in str(said.value)


def test_a_clock_that_goes_backwards_changes_nothing(
    surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that leaps ahead: the same records, sane rates, checkpoints in time."""
    data = surrogate_set
    one, other = classifier(data), classifier(data)
    expected = list(training(one, data, compute))
    leaps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(leaps))
    records = list(training(other, data, compute, checkpoint=tmp_path / "state.pt"))
    assert same_weights(one, other)
    assert timeless(records) == timeless(expected)
    assert all(0 < record.samples_per_second < 1e6 for record in records)
    assert (tmp_path / "state.pt").exists()


@pytest.mark.parametrize("length", [300, 900])
def test_a_long_path_works_or_is_told(
    tmp_path: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Results and checkpoints reach as far as the system does; SQLite ends at 512 bytes, and says so on one line."""
    root = tmp_path
    while len(os.fsencode(root)) < length:
        root /= "très long 長い"
    root.mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with unfinished.work_folder("compare", settings={}, inputs=[]) as folder:
        Checkpoint(folder / "state.pt", compute).save({"number": 1})
        assert Checkpoint(folder / "state.pt", compute).load(dict)
    if length > 512:
        with pytest.raises(UserError, match="MLFLOW_TRACKING_URI") as said, runs.run(**WORK):
            pytest.fail("the work must not start")
        assert "\n" not in str(said.value)
    else:
        with runs.run(**WORK) as run:
            run.log_metrics({"loss": 1.0})
        assert store.census() == (1, 0)
