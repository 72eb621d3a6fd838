"""Arrays in memory lie where PyTorch's own tensors lie; a mapped file is the same for all processes."""

import itertools
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from exemplar.errors import UserError
from exemplar.io.arrays import (
    ALIGNMENT_BYTES,
    aligned_empty,
    load_array,
    map_array,
    move_rows,
    prefetch,
    scratch_array,
)
from exemplar.surrogate.sets import SurrogateSet


@pytest.mark.parametrize("shape", [(1,), (3,), (3, 3), (5, 7, 15), (1000, 33)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_loaded_numbers_begin_at_a_multiple_of_64_bytes(tmp_path: Path, shape: tuple[int, ...], order: str) -> None:
    """Whatever else is in memory, so that a product rounds the same in every run; the numbers are those of the file."""
    path, numbers = tmp_path / "numbers.npy", np.random.default_rng(0).random(shape, np.float32)
    np.save(path, np.asarray(numbers, order=order))
    others = []
    for size in range(1, 400, 37):
        others.append(np.empty(size, np.uint8))
        loaded = load_array(path, kind=np.float32, shape=(None,) * len(shape), remedy="")
        others.append(loaded)
        assert loaded.ctypes.data % ALIGNMENT_BYTES == 0
        assert loaded.flags.c_contiguous
        assert np.array_equal(loaded, numbers)


def is_in_memory(file: int, place: int) -> bool:
    """Whether the system need not read a byte of a file from the disk."""
    try:
        return os.preadv(file, [bytearray(1)], place, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux tells what lies in memory")
def test_only_the_rows_that_are_asked_for_are_read_from_the_disk(tmp_path: Path) -> None:
    """They come without being touched, and the megabytes around them stay where they are."""
    path, size = tmp_path / "numbers.npy", 1 << 20
    np.save(path, np.ones((30, size), np.uint8))
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    asked, other = (path.stat().st_size - (30 - row) * size + size // 2 for row in (20, 10))
    if is_in_memory(file, asked):
        pytest.skip("this file system keeps all of its files in memory")
    numbers = map_array(path, kind=np.uint8, shape=(30, size), remedy="")
    prefetch(numbers, [20])
    end = time.monotonic() + 10
    while not is_in_memory(file, asked):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not is_in_memory(file, other)
    assert numbers[20, size // 2] == 1
    os.close(file)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what it was told of a map")
def test_rows_that_are_written_at_random_do_not_take_their_neighbours_to_the_disk(tmp_path: Path) -> None:
    """The map of a file without a name is marked so (rr), and the folder stays empty."""
    rows = scratch_array(tmp_path, (5, 1000), np.float32)
    rows[3] = 1
    start = rows.ctypes.data
    maps = Path("/proc/self/smaps").read_text().split("VmFlags: ")
    flags = next(after for before, after in itertools.pairwise(maps) if f"\n{start:x}-" in f"\n{before}")
    assert "rr" in flags.splitlines()[0].split()
    assert (rows.sum(), list(tmp_path.iterdir())) == (1000, [])


def test_pytorch_aligns_its_own_memory_so() -> None:
    """Also what it reads from a checkpoint, so that nothing in a training lies by chance."""
    assert all(torch.empty(size).data_ptr() % ALIGNMENT_BYTES == 0 for size in range(1, 200, 7))
    assert aligned_empty((2, 3), np.float32).shape == (2, 3)


def test_another_machine_must_have_the_same_file(tmp_path: Path) -> None:
    """A mapped array travels as its path; other numbers of the same shape, another shape and no file are told.

    It is told when the array is read, within the work that is done there.
    """
    path, numbers = tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (100, 3, 32, 32), np.uint8)
    np.save(path, numbers)
    sent = pickle.dumps(map_array(path, kind=np.uint8, shape=(None, 3, 32, 32), remedy=""))
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent), numbers)
    for others, said in (
        (numbers[::-1], "holds other numbers; "),
        (numbers[1:], "it holds uint8"),
        (None, "No such file"),
    ):
        path.unlink()
        if others is not None:
            np.save(path, others)
        with pytest.raises(
            UserError, match=rf"{said}.*the machine .+ needs the same file there as the one where"
        ) as told:
            pickle.loads(sent)[:1]
        assert str(path) in str(told.value)


def misplaced(numbers: torch.Tensor, bytes_off: int) -> torch.Tensor:
    """A copy whose memory begins so many bytes behind a multiple of 64."""
    offset = bytes_off // numbers.element_size()
    memory = torch.empty(numbers.numel() + offset, dtype=numbers.dtype)
    copy = memory[offset:].view(numbers.shape)
    return copy.copy_(numbers)


@pytest.mark.parametrize("bytes_off", [4, 12, 36, 60])
def test_samples_do_not_depend_on_where_the_basis_lay(
    surrogate_set: SurrogateSet, tmp_path: Path, bytes_off: int
) -> None:
    """A set whose colour basis and mean are misaligned has, once saved and loaded, the same samples to the bit."""
    from dataclasses import replace

    basis, mean = (misplaced(part, bytes_off) for part in (surrogate_set.basis, surrogate_set.colour_mean))
    replace(surrogate_set, basis=basis, colour_mean=mean).save(tmp_path)
    loaded = SurrogateSet.load(tmp_path)
    assert loaded.basis.data_ptr() % ALIGNMENT_BYTES == loaded.colour_mean.data_ptr() % ALIGNMENT_BYTES == 0
    indices = torch.arange(len(surrogate_set))
    assert torch.equal(loaded.render(indices)[0], surrogate_set.render(indices)[0])


def test_rows_are_moved_together_and_a_kill_costs_none(tmp_path: Path):
    """Whatever was moved before it: those that are left in the file are moved then."""
    rows, which = np.arange(36, dtype=np.int64).reshape(9, 4), np.arange(9) % 4 != 1
    for left in (9, 6, 4, 0):
        source, target = tmp_path / f"{left}.npy", tmp_path / f"{left}.whole.npy"
        np.save(source, rows)
        if left < 9:
            np.save(target, np.where((which.cumsum()[which] > which[:left].sum())[:, None], rows[which], 0))
            os.truncate(source, source.stat().st_size - rows[left:].nbytes)
        move_rows(source, target, which, at_once=2)
        assert np.load(target).tolist() == rows[which].tolist()
        assert source.stat().st_size == (tmp_path / "9.npy").stat().st_size
