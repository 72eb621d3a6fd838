"""Runs in MLflow whose process died without a word (kill -9, a power cut): found, closed, or gone on with."""

import os
import re
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from exemplar.atomic import replacing

Client = Any  # an MlflowClient, which is not imported here
PROCESS_TAG, WORK_TAG, UNKNOWN = "process", "work", "? 0 0"
REASON = "its process is gone and did not say why (kill -9, power cut, out of memory)"


def owner() -> str:
    """Host, number and start of this process, which no later process shares."""
    return f"{socket.gethostname()} {os.getpid()} {seconds_since_boot(psutil.Process()):.2f}"


def seconds_since_boot(process: psutil.Process) -> float:
    """When a process started; unlike the time of day it stays what it is when somebody sets the clock."""
    return process.create_time() - psutil.boot_time()


def is_gone(process: str) -> bool:
    """Whether a process that `owner` named ran on this host and runs no more; of other hosts nothing is known."""
    host, number, start = process.rsplit(" ", 2)
    if host != socket.gethostname():
        return False
    try:
        return abs(seconds_since_boot(psutil.Process(int(number))) - float(start)) > 1
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


def work_of(marker: Path) -> str:
    """The name of an unfinished work, out of its file; without one, a name that is written there before any run has it.

    A run is found by this name, so that a kill at any moment leaves none that the work does not know.
    """
    if marker.exists() and re.fullmatch("[0-9a-f]{32}", name := marker.read_text(encoding="ascii", errors="replace")):
        return name
    name = uuid4().hex
    with replacing(marker) as temporary:
        temporary.write_text(name, encoding="ascii")
    return name


def reopened(client: Client, experiment: str, work: str) -> str | None:
    """The id of the run of a work, RUNNING again; None where this store has none, or somebody deleted it."""
    found = client.search_runs([experiment], f"tags.{WORK_TAG} = '{work}'", max_results=1)
    if not found:
        return None
    run_id: str = found[0].info.run_id
    client.update_run(run_id, status="RUNNING")
    if "reason" in found[0].data.tags:
        client.delete_tag(run_id, "reason")
    return run_id


def last_steps(client: Client, run_id: str) -> dict[str, int]:
    """The last step of every curve that a run already holds."""
    curves = client.get_run(run_id).data.metrics
    return {name: max(point.step for point in client.get_metric_history(run_id, name)) for name in curves}
