"""States on the disk: what is kept, what is refused, and that the work goes on as if it had not been interrupted."""

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SETTINGS, classifier, same_weights, sampled, timeless, training

from exemplar.errors import UserError
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training import checkpoints, loop
from exemplar.training.checkpoints import Checkpoint
from exemplar.training.learner import Learner
from exemplar.training.rows import LazyRows

FILE_EVENTS = ("open", "os.rename", "os.remove")


@pytest.fixture
def kept(tmp_path: Path, compute: Compute) -> Checkpoint:
    """Where two states were written, the numbers 1 and 2."""
    checkpoint = Checkpoint(tmp_path / "state.pt", compute)
    for number in (1, 2):
        checkpoint.save({"number": torch.full((50,), number)})
    return checkpoint


def found(checkpoint: Checkpoint) -> set[int]:
    """The numbers in the state that is given."""
    seen: list[dict[str, Any]] = []
    assert checkpoint.load(seen.append)
    return set(seen[-1]["number"].tolist())


def flip(path: Path, *, bit: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_newest_state_counts_and_the_one_before_it_is_kept(kept: Checkpoint) -> None:
    """There are never more than two, nor half of one."""
    assert found(kept) == {2}
    kept.save({"number": torch.full((50,), 3)})
    assert sorted(path.name for path in kept.path.parent.iterdir()) == ["earlier.pt", "state.pt"]
    assert found(kept) == {3}
    kept.path.unlink()
    assert found(kept) == {2}


def test_nothing_is_found_where_nothing_was_written(tmp_path: Path, compute: Compute) -> None:
    """Not even in a folder that is not there."""
    assert not Checkpoint(tmp_path / "none" / "state.pt", compute).load(dict)


def test_a_state_need_not_fit_into_memory(tmp_path: Path, compute: Compute) -> None:
    """Its tensors are mapped from the file until somebody copies them."""

    def anonymous_kilobytes() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

    checkpoint, seen = Checkpoint(tmp_path / "state.pt", compute), list[dict[str, Any]]()
    checkpoint.save({"rows": torch.ones(1 << 23)})
    before = anonymous_kilobytes()
    checkpoint.load(seen.append)
    assert float(seen[0]["rows"].sum()) == 1 << 23
    assert anonymous_kilobytes() - before < 1 << 14


@pytest.mark.parametrize("harm", [cut, Path.touch, lambda path: path.write_bytes(b"")], ids=["cut", "whole", "empty"])
def test_a_damaged_state_gives_way_to_the_one_before(
    kept: Checkpoint, harm: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    """That is told on one line, and the damaged file is gone, so that it never becomes the one before."""
    whole = kept.path.read_bytes()
    harm(kept.path)
    harmed = kept.path.read_bytes() != whole
    assert found(kept) == ({1} if harmed else {2})
    told = capsys.readouterr().err.splitlines()
    assert len(told) == harmed
    assert all(line.startswith("cannot read the checkpoint ") and line.endswith("before it") for line in told)
    assert kept.path.exists() is not harmed


def test_no_flipped_bit_is_let_in(kept: Checkpoint) -> None:
    """Wherever it is, the numbers are those of this state or of the one before; PyTorch alone reads wrong ones."""
    whole, earlier = kept.path.read_bytes(), kept.earlier.read_bytes()
    rng_states = random.Random(0)
    numbers = []
    for _ in range(60):
        kept.path.write_bytes(whole)
        kept.earlier.write_bytes(earlier)
        flip(kept.path, bit=rng_states.randrange(8 * len(whole)))
        numbers.append(found(kept))
    assert {number for each in numbers for number in each} == {1, 2}
    assert numbers.count({1}) > 30


def test_two_damaged_states_are_an_error_that_says_what_to_do(kept: Checkpoint) -> None:
    """Both stay where they are."""
    for path in (kept.path, kept.earlier):
        cut(path)
    with pytest.raises(UserError, match=r"cannot read .*state.pt .*; cannot read .*earlier.pt .*; remove ") as said:
        kept.load(dict)
    assert "\n" not in str(said.value)
    assert kept.path.exists()
    assert kept.earlier.exists()


class Rows:
    """A small table beside a checkpoint, filled with a state's number."""

    def __init__(self, folder: Path, compute: Compute) -> None:
        self.checkpoint = Checkpoint(folder / "state.pt", compute)
        self.table = LazyRows(10, 3, longest=2, compute=compute)

    def save(self, number: int) -> None:
        """A state whose numbers and rows are all the same."""
        self.table.rows[:-1] = number
        self.checkpoint.save({"number": torch.full((5,), number)}, [self.table])

    def found(self) -> set[int]:
        """The numbers of the state that is loaded, and those of the rows that come with it."""
        seen: list[dict[str, Any]] = []
        self.table.rows[:-1] = -1
        assert self.checkpoint.load(seen.append, [self.table])
        return {*seen[-1]["number"].tolist(), *self.table.rows[:-1].flatten().int().tolist()}


def test_a_kill_at_any_moment_of_writing_mixes_no_rows_of_two_states(tmp_path: Path, compute: Compute) -> None:
    """A process is killed before each file that it opens, renames or removes: one state is found, with its own rows."""
    rows, number, status = Rows(tmp_path, compute), 2, signal.SIGKILL
    rows.save(1)
    rows.save(2)
    numbers = {2}
    while status:
        number += 1
        if (child := os.fork()) == 0:
            kill_before(number - 3)
            rows.save(number)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        before, numbers = numbers, rows.found()
        assert len(numbers) == 1
        assert numbers <= {*before, number}
        assert len(list(tmp_path.glob("*rows-*"))) == len(list(tmp_path.glob("[!.]*.pt")))
    assert numbers == {number}
    assert number > 12


def kill_before(number: int) -> None:
    """End this process by SIGKILL before so many files, and one more, were opened, renamed or removed."""
    events = itertools.count()

    def hook(event: str, _: object) -> None:
        if event in FILE_EVENTS and next(events) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.mark.parametrize("harm", [cut, Path.unlink, lambda path: flip(path, bit=1100)], ids=["cut", "gone", "flipped"])
def test_damaged_rows_give_way_to_the_state_before(
    tmp_path: Path, compute: Compute, harm: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a damaged state does; the rows of both states that are left lie beside them."""
    rows = Rows(tmp_path, compute)
    for number in (1, 2):
        rows.save(number)
    harm(tmp_path / checkpoints.load_state(rows.checkpoint.path)["parts"][0]["name"])
    assert rows.found() == {1}
    assert capsys.readouterr().err.endswith("; going on from the one before it\n")
    assert len(list(tmp_path.iterdir())) == 2
    rows.save(3)
    assert rows.found() == {3}
    assert len(list(tmp_path.iterdir())) == 4


def test_rows_that_process_0_does_not_see_are_told(
    tmp_path: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine may have another folder of that name; no state is written then."""
    theirs = {"name": "rows-theirs.npy", "table": 0, "first": 10, "count": 10, "checksum": 0}
    monkeypatch.setattr("exemplar.runtime.collective.answers", lambda mine, _: [mine, ([theirs], "")])
    with pytest.raises(
        UserError, match=r"^another process has written .*rows-theirs\.npy.*; all machines need the same"
    ):
        Rows(tmp_path, compute).save(1)
    assert not (tmp_path / "state.pt").exists()


def test_states_cost_at_most_their_share_of_the_time(
    tmp_path: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a state that took 10 ms the next is due half a second later, inside an epoch after two minutes."""
    checkpoint = Checkpoint(tmp_path / "state.pt", compute)
    assert checkpoint.is_due()
    checkpoint.save({})
    checkpoint.cost_seconds = 0.01
    now = checkpoint.written
    for later, expected in {0.4: (False, False), 0.6: (True, False), 119: (True, False), 121: (True, True)}.items():
        monkeypatch.setattr(time, "monotonic", lambda at=now + later: at)
        assert (checkpoint.is_due(), checkpoint.is_due_inside()) == expected
    checkpoint.cost_seconds = 60
    assert not checkpoint.is_due_inside()


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written after every step."""
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE_OF_TIME", 1e9)


class StoppedError(Exception):
    """What ends a training between two steps."""


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say after which number of steps the next training ends."""
    train_step = loop.train_step

    def after(steps: int) -> None:
        count = itertools.count()

        def step(*inputs: Any, **more: Any) -> Any:
            if next(count) == steps:
                raise StoppedError
            return train_step(*inputs, **more)

        monkeypatch.setattr(loop, "train_step", step)

    return after


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("draw", [classifier, sampled])
@pytest.mark.parametrize(("steps", "damaged"), [(1, False), (3, False), (4, False), (7, True), (15, False)])
def test_a_training_goes_on_inside_an_epoch(
    surrogate_set: SurrogateSet,
    compute: Compute,
    tmp_path: Path,
    stops: Callable[[int], None],
    draw: Callable[[SurrogateSet], Learner],
    steps: int,
    damaged: bool,
) -> None:
    """It does only the steps that are left, one more where the newest state is damaged, and ends bit-equal."""
    data, path = surrogate_set, tmp_path / "state.pt"
    whole, first, second = draw(data), draw(data), draw(data)
    stops(-1)
    expected = list(training(whole, data, compute))
    stops(steps)
    with pytest.raises(StoppedError):
        list(training(first, data, compute, checkpoint=path))
    if damaged:
        cut(path)
    stops(SETTINGS.epochs * 4 - steps + damaged)  # more steps than these would stop it
    resumed = list(training(second, data, compute, checkpoint=path))
    assert same_weights(whole, second)
    assert timeless(resumed) == timeless(expected)
