"""Parts of a long work that are not done twice."""

from pathlib import Path

import numpy as np
import pytest

from exemplar.errors import UserError
from exemplar.io import unfinished


def test_a_part_is_made_once(tmp_path: Path) -> None:
    """A later run finds it, bit for bit; each name is a part of its own, and nothing is kept without a folder."""
    random = np.random.default_rng(0)
    first, second = (unfinished.cached_result(tmp_path, "one", lambda: [random.random(5), 3]) for _ in range(2))
    assert first == second == [np.random.default_rng(0).random(5).tolist(), 3]
    assert unfinished.cached_result(tmp_path, "two", lambda: [random.random(5), 3]) != first
    assert unfinished.cached_result(None, "one", lambda: "anew") == "anew"


def killed() -> np.ndarray:
    """A process that does not come to the end."""
    raise KeyboardInterrupt


def test_a_part_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """It is done again."""
    with pytest.raises(KeyboardInterrupt):
        unfinished.cached_result(tmp_path, "one", killed)
    assert not list(tmp_path.iterdir())


def test_a_part_that_has_changed_is_not_used(tmp_path: Path) -> None:
    """A flipped bit or a lost end is told with the remedy."""
    unfinished.cached_result(tmp_path, "one", lambda: np.arange(1000))
    file = tmp_path / "one.json"
    whole = file.read_bytes()
    flipped = [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in (0, 8, 9, 500)]
    for broken in (*flipped, whole[: len(whole) // 2], b""):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=r"cannot read .*one\.json: .*; remove .* to do its work again"):
            unfinished.cached_result(tmp_path, "one", killed)
