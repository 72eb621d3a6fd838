"""Jobs that write to one SQLite store at once, and somebody who reads it meanwhile: no number and no run is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_pipeline import CHECKOUT, environment

WRITERS, STEPS = 4, 20
RUNS = max(2, int(os.environ.get("KILLS", "200")) // 4)  # of each writer
WRITER = f"""
from exemplar.tracking import runs
for number in range({RUNS}):
    with runs.run(stage="train", name="writer", parameters={{"number": number}}, inputs=[]) as run:
        for step in range({STEPS}):
            run.next_send = 0.0  # send at once, as often as can be
            run.log_metrics({{"loss": 1.0, "accuracy": 0.5}}, step=step)
"""
READER = """
from exemplar.tracking import store
client, experiment = store.connect(store.address())
while True:
    for run in client.search_runs([experiment], max_results=3):
        client.get_metric_history(run.info.run_id, "loss")
"""
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3_600),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # mlflow's own
]


def start(program: str, folder: Path) -> "subprocess.Popen[bytes]":
    """A process on the store of that folder."""
    known = {**environment(), "PYTHONPATH": str(CHECKOUT), "DVC_ROOT": str(folder)}
    return subprocess.Popen([sys.executable, "-c", program], cwd=folder, env=known, stderr=subprocess.PIPE)


def test_four_writers_and_a_reader(tmp_path: Path) -> None:
    """On a store that is not there yet: every run is finished and holds all its numbers; nothing waits in .spool."""
    reader = start(READER, tmp_path)
    writers = [start(WRITER, tmp_path) for _ in range(WRITERS)]
    told = [writer.communicate()[1].decode() for writer in writers]
    assert reader.poll() is None, reader.communicate()[1]
    reader.kill()
    reader.communicate()
    assert [writer.returncode for writer in writers] == [0] * WRITERS, told
    assert told == [""] * WRITERS

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert len(runs) == WRITERS * RUNS
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        for name in ("loss", "accuracy"):
            steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
            assert sorted(steps) == list(range(STEPS))
    assert not list(tmp_path.glob(".spool/*"))
