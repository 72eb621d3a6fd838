"""Runs in MLflow whose process died without a word (kill -9, a power cut): found, closed, or gone on with."""

import os
import socket
from pathlib import Path
from typing import Any

import psutil

Client = Any  # an MlflowClient; only tracking.py imports mlflow
PROCESS_TAG, UNKNOWN = "process", "? 0 0"
REASON = "its process is gone and did not say why (kill -9, power cut, out of memory)"


def owner() -> str:
    """Host, number and start of this process, which no later process shares."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.2f}"


def is_gone(process: str) -> bool:
    """Whether a process that `owner` named ran on this host and runs no more; of other hosts nothing is known."""
    host, number, start = process.rsplit(" ", 2)
    if host != socket.gethostname():
        return False
    try:
        return abs(psutil.Process(int(number)).create_time() - float(start)) > 1
    except psutil.NoSuchProcess:
        return True


def find(client: Client, experiment: str) -> list[str]:
    """The ids of the runs that nobody will end any more."""
    running = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    return [run.info.run_id for run in running if is_gone(run.data.tags.get(PROCESS_TAG, UNKNOWN))]


def close(client: Client, experiment: str) -> None:
    """Mark the runs that nobody will end any more as KILLED, with the reason."""
    for run_id in find(client, experiment):
        client.set_tag(run_id, "reason", REASON)
        client.set_terminated(run_id, "KILLED")


def reopened(client: Client, marker: Path | None) -> str | None:
    """The id of the unfinished run that `marker` names, RUNNING again; None where there is none to go on with."""
    if marker is None or not marker.exists():
        return None
    try:
        found = client.get_run(marker.read_text(encoding="ascii"))
    except Exception:  # MLflow's own kind: another store, or somebody deleted it for good
        return None
    if found.info.lifecycle_stage != "active":
        return None
    client.update_run(found.info.run_id, status="RUNNING")
    if "reason" in found.data.tags:
        client.delete_tag(found.info.run_id, "reason")
    return str(found.info.run_id)


def last_steps(client: Client, run_id: str) -> dict[str, int]:
    """The last step of every curve that a run already holds."""
    curves = client.get_run(run_id).data.metrics
    return {name: max(point.step for point in client.get_metric_history(run_id, name)) for name in curves}
