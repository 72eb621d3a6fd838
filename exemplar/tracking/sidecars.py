"""How a result was made: its MLflow run, its duration and its speed.

These differ whenever the same result is made again, so they stand beside DVC's outputs and not in them. A sidecar has
the digest of its result in its name: that of another experiment is never taken for this one's, and a result that DVC
restored from another machine has none.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from exemplar.io import foreign, provenance, sources
from exemplar.io.atomic import replacing

FOLDER = ".runs"
DIGITS = 12  # of the md5, enough for the results of one stage


@dataclass(frozen=True)
class Sidecar:
    """The id of the MLflow run that made a result, its wall time, and the median speed where it was a training."""

    run_id: str
    seconds: float
    samples_per_second: float | None = None


def path_of(stage: str, *of: str, result: Path) -> Path:
    """Where the sidecar of a stage's result lies, `of` the values of the stage's matrix."""
    name = "-".join((stage, *of, sources.digest(result)[:DIGITS]))
    return provenance.user_repository() / FOLDER / f"{name}.json"


def save(sidecar: Sidecar, path: Path) -> None:
    """Write a sidecar as JSON."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(sidecar)) + "\n", encoding="utf-8")


def load(path: Path) -> Sidecar | None:
    """Read a sidecar; None where there is none, or one that is broken: no result depends on it."""
    try:
        sidecar = TypeAdapter(Sidecar).validate_json(foreign.read(path), strict=True, extra="forbid")
    except (OSError, ValueError):  # pydantic's errors are such
        return None
    return sidecar if re.fullmatch("[0-9a-f]{1,64}", sidecar.run_id) and math.isfinite(sidecar.seconds) else None


def collect(results: Mapping[tuple[str, ...], Path]) -> dict[str, Sidecar | None]:
    """The sidecar of each result, by the stage and the values of its matrix: `probe.photos.exemplar`."""
    return {".".join(key): load(path_of(*key, result=result)) for key, result in results.items()}
