"""Kills of `dvc repro` and `dvc exp run` with all that they started: the same command again ends as it would have."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from test_pipeline import Copy, environment

COMMANDS = {
    "repro": ["repro"],
    "exp run": ["exp", "run", "-n", "survivor"],
    "exp run --temp": ["exp", "run", "--temp", "-n", "survivor"],
}
KILLS = int(os.environ.get("KILLS", "200")) // 10
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
ENCODER = Path("data/encoders/exemplar.safetensors")
LONGEST_SECONDS = 15  # a stage takes about five, most of them for imports
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(36_000),
    pytest.mark.skipif(KILLS < 5, reason="takes minutes a mode; KILLS=50 or more kills DVC too"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]


def killed(copy: Copy, words: list[str], *, after_seconds: float, by: signal.Signals) -> bool:
    """Run a command of DVC's and send a signal to it and all its children; whether it was still at work."""
    command = [sys.executable, "-m", "dvc", *words]
    with (copy.folder.parent / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=copy.folder, env=environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        process.wait(after_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, by)
    return process.wait(120) != 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The encoder of a pipeline that nobody disturbed."""
    copy = Copy(tmp_path_factory.mktemp("whole") / "copy")
    done = copy.repro()
    assert done.returncode == 0, done.stderr
    return (copy.folder / ENCODER).read_bytes()


@pytest.mark.parametrize("mode", list(COMMANDS))
def test_kills_of_dvc(mode: str, whole: bytes, tmp_path: Path) -> None:
    """Weights are bit-equal, DVC has nothing left to do, and every run in MLflow is there once and finished."""
    copy, dice, met = Copy(tmp_path / "copy"), random.Random(mode), 0
    while met < KILLS and killed(
        copy, COMMANDS[mode], after_seconds=dice.uniform(1, LONGEST_SECONDS), by=dice.choice(SIGNALS)
    ):
        met += 1
    print(f"{mode}: {met} kills", file=sys.stderr, flush=True)
    done = copy.call(sys.executable, "-m", "dvc", *COMMANDS[mode])
    again = done.returncode != 0 and "already exists" in done.stderr  # the last one had come to its end
    assert done.returncode == 0 or again, done.stderr
    if "--temp" in mode:
        copy.call(sys.executable, "-m", "dvc", "exp", "apply", "survivor", check=True)
    assert (copy.folder / ENCODER).read_bytes() == whole
    assert "up to date" in copy.repro().stdout
    counted = Counter((run.data.tags["stage"], run.info.run_name) for run in copy.runs())
    assert set(counted.values()) == {1}, counted
    assert {run.info.status for run in copy.runs()} == {"FINISHED"}
