"""When, from which commit, on which machine and in what time results were made: what the page says below its answer."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exemplar.errors import UserError
from exemplar.io import provenance
from exemplar.params.dotted import flatten
from exemplar.params.load import load_params
from exemplar.tracking.sidecars import Sidecar

SHORT = 10


def origin(made: Mapping[str, Sidecar | None]) -> dict[str, str]:
    """Date, commit, machine and duration; the last sums what the stages took that were made on this machine.

    What DVC, starting Python and importing libraries take before a stage's run begins is not in it.
    """
    here = [sidecar.seconds for sidecar in made.values() if sidecar]
    elsewhere = f", {len(made) - len(here)} of {len(made)} results made elsewhere" if len(here) < len(made) else ""
    tags = provenance.tree_tags(provenance.changes())
    commit = tags.get("mlflow.source.git.commit", "")[:SHORT] or "none"
    return {
        "date": f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
        "commit": commit + (", with changes" if tags.get("git.dirty") == "true" else ""),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "duration": f"{minutes(sum(here, 0.0))} inside the stages{elsewhere}",
    }


def processor() -> str:
    """What the processor is called; Linux says it in a file of its own."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def minutes(seconds: float) -> str:
    """`3.4 minutes`, or `12 seconds` below one and a half minutes."""
    return f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def changed_settings(settings: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    """The settings that differ from the committed params.yaml, as it resolves: name, value there, value here."""
    committed = provenance.git("show", "HEAD:./params.yaml")
    with TemporaryDirectory() as folder:
        file = Path(folder, "params.yaml")
        file.write_bytes(committed)
        try:
            before = flatten(load_params(file).model_dump())
        except UserError:  # there is no commit, or it has settings of another version
            return []
    now = flatten(settings)
    return [(name, before.get(name), now[name]) for name in now if before.get(name) != now[name]]
