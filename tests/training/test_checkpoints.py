"""States on the disk: what is kept, what is refused, and that the work goes on as if it had not been interrupted."""

import itertools
import random
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


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoint:
    """Where two states were written, the numbers 1 and 2."""
    checkpoint = Checkpoint(tmp_path / "state.pt")
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


def test_nothing_is_found_where_nothing_was_written(tmp_path: Path) -> None:
    """Not even in a folder that is not there."""
    assert not Checkpoint(tmp_path / "none" / "state.pt").load(dict)


def test_a_state_need_not_fit_into_memory(tmp_path: Path) -> None:
    """Its tensors are mapped from the file until somebody copies them."""

    def anonymous_kilobytes() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

    checkpoint, seen = Checkpoint(tmp_path / "state.pt"), list[dict[str, Any]]()
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


def test_states_cost_at_most_their_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a state that took 10 ms the next is due half a second later, inside an epoch after two minutes."""
    checkpoint = Checkpoint(tmp_path / "state.pt")
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
