"""The learning curve that a training leaves beside its encoder."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from exemplar.io.atomic import replacing
from exemplar.training.contract import Epoch

LEFT_OUT = ("samples_per_second", "further")  # the speed differs whenever the same curve is made again


def save_curve(epochs: Sequence[Epoch], folder: Path) -> None:
    """Write curve.csv, a row per epoch below its head: all that it measured but its speed; `further` at the end."""
    names = [field.name for field in fields(Epoch) if field.name not in LEFT_OUT]
    names += sorted({name for epoch in epochs for name in epoch.further})
    with replacing(folder) as temporary:
        temporary.mkdir()
        with (temporary / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(asdict(epoch) | dict(epoch.further) for epoch in epochs)
