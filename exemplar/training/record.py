"""What a training leaves beside the encoder: its learning curve."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from exemplar.io.atomic import replacing
from exemplar.training.contract import Epoch


def save_record(epochs: Sequence[Epoch], folder: Path, *, run_id: str) -> None:
    """Write curve.csv, a row per epoch below its head, and the id of the run that made it."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        with (temporary / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [asdict(epoch).values() for epoch in epochs]
            csv.writer(file).writerows([[field.name for field in fields(Epoch)], *rows])
        (temporary / "run.json").write_text(json.dumps({"run_id": run_id}), encoding="utf-8")
