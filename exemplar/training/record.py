"""The learning curve that a training leaves beside its encoder."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from exemplar.io.atomic import replacing
from exemplar.training.contract import Epoch

SPEED = "samples_per_second"  # differs whenever the same curve is made again


def save_curve(epochs: Sequence[Epoch], folder: Path) -> None:
    """Write curve.csv, a row per epoch below its head: all that an epoch measured but its speed."""
    names = [field.name for field in fields(Epoch) if field.name != SPEED]
    with replacing(folder) as temporary:
        temporary.mkdir()
        with (temporary / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(asdict(epoch) for epoch in epochs)
