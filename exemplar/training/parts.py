"""The rows of a large head on the disk: each process writes those that it owns, and a state names the files of all.

A file has a name that no other state gives, and the state keeps its checksum, so that rows of two states never meet.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exemplar.errors import UserError, reason
from exemplar.io.arrays import layout
from exemplar.io.atomic import remove, replacing
from exemplar.runtime import collective
from exemplar.runtime.device import Compute
from exemplar.training.rows import LazyRows

PIECE_BYTES = 1 << 24
Part = dict[str, Any]  # its file's name, the number of its table, its first class, how many there are, the checksum


def save(tables: Sequence[LazyRows], folder: Path, compute: Compute) -> list[Part]:
    """Write what this process owns, and return what a state keeps of the files of all processes.

    Raises OSError in every process where one cannot write, and UserError where process 0 does not see all files.
    """
    written, trouble = list[Part](), ""
    try:
        for number, table in enumerate(tables):
            part: Part = {"name": f"rows-{uuid4().hex}.npy", "table": number, "first": table.first, "count": table.own}
            if table.own:  # with more processes than classes some own none
                written.append({**part, "checksum": write(folder / part["name"], table.rows[:-1])})
    except (OSError, RuntimeError) as error:
        trouble = reason(error)
    answers = collective.answers((written, trouble), compute)
    if troubles := [trouble for _, trouble in answers if trouble]:
        raise OSError(troubles[0])
    parts = [part for written, _ in answers for part in written]
    missing = [part["name"] for part in parts if not (folder / part["name"]).exists()]
    if missing and compute.rank == 0:
        raise UserError(
            f"another process has written {folder / missing[0]}, rows of a state, and process 0 does not see it; all "
            "machines need the same folder there"
        )
    return parts


def load(tables: Sequence[LazyRows], folder: Path, parts: Iterable[Part]) -> None:
    """Read what this process owns, some at a time, and in process 0 every file: it has chosen the state for all.

    Raises ValueError for a file that is not as it was written.
    """
    for part in parts:
        table = tables[part["table"]]
        if table.compute.rank == 0 or table.owned(part["first"], part["count"]):
            for first, rows in read(folder, part, width=table.rows.shape[2]):
                table.take(first, rows, into=table.rows)


def write(path: Path, rows: Float[Tensor, "n 2 d"]) -> int:
    """Write rows, some at a time wherever they lie; their checksum."""
    checksum = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(rows.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for some in torch.split(rows, rows_at_once(rows.shape[2])):
            numbers = some.cpu().numpy().data
            checksum = zlib.crc32(numbers, checksum)
            file.write(numbers)
    return checksum


def read(folder: Path, part: Mapping[str, Any], *, width: int) -> Iterator[tuple[int, Float[Tensor, "n 2 d"]]]:
    """Rows, some at a time, behind the number of the first class of each; the checksum is looked at behind the last."""
    path, checksum, at_once = folder / part["name"], 0, rows_at_once(width)
    with path.open("rb") as file:
        layout(file, size_bytes=path.stat().st_size, kind=np.float32, shape=(part["count"], 2, width))
        for done in range(0, part["count"], at_once):
            rows = np.fromfile(file, np.float32, min(at_once, part["count"] - done) * 2 * width).reshape(-1, 2, width)
            checksum = zlib.crc32(rows.data, checksum)
            yield part["first"] + done, torch.from_numpy(rows)
    if checksum != part["checksum"]:
        raise ValueError(f"the checksum of {path} differs")


def rows_at_once(width: int) -> int:
    """How many rows with their momenta are read and written at a time."""
    return max(1, PIECE_BYTES // (8 * width))


def remove_unnamed(folder: Path, named: Iterable[Part]) -> None:
    """Remove files of rows that no state names: a newer state has others, or a kill has left them."""
    kept = {part["name"] for part in named}
    for path in folder.glob("*rows-*"):
        if path.name not in kept:
            remove(path)
