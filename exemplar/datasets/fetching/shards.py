"""Tar shards as webdataset and img2dataset write them: pictures and what is known of each, `KEY.jpg` beside `KEY.json`.

A shard is read once to find where its pictures lie, and they are then read in place.
"""

import io
import os
import platform
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from exemplar.datasets.fetching.archives import UNREADABLE, fault, inner_path
from exemplar.datasets.fetching.unpacking import iter_headers
from exemplar.errors import UserError, reason
from exemplar.io.trees import HIDDEN, NO_FILE, is_picture, suffix_of
from exemplar.runtime import units
from exemplar.runtime.units import Unit

MOST_BYTES = 1 << 26  # of a picture


class Place(NamedTuple):
    """Where a picture lies in a larger file: how long that is, the first byte in it, and how many there are."""

    file: Path
    length: int
    offset: int
    size: int

    def read(self) -> io.BytesIO:
        """The picture's file."""
        require_length(self.file, self.length)
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


class Entries(NamedTuple):
    """The pictures of a shard: its length, their names, their first bytes and lengths, and the causes of all others."""

    length: int
    names: list[str]
    places: Int64[np.ndarray, "n 2"]
    others: Counter[str]


def require_length(file: Path, length: int) -> None:
    """Raise UserError for a file that is not what the stage has listed: another machine may have another one there."""
    try:
        found = file.stat().st_size
        said = f"has {found:,} bytes"
    except OSError as error:
        found, said = -1, f"cannot be read ({reason(error)})"
    if found != length:
        raise UserError(
            f"{file} {said} on the machine {platform.node()}, and had {length:,} bytes when the pictures were listed; "
            "all machines need the same pictures there, which must not change meanwhile"
        )


def source_of(tree: Path, name: str, place: Place | int) -> Path | io.BytesIO:
    """A picture's file, which has `place` bytes, or its bytes out of a larger one. Raises UserError as above."""
    if isinstance(place, Place):
        return place.read()
    require_length(tree / name, place)
    return tree / name


def find(tree: Path, names: Sequence[PurePath]) -> tuple[list[str], list[Place], Counter[str]]:
    """The pictures of shards in their order, with their paths below the tree, and how many members are none."""
    pieces = [Unit(range(number, number + 1), tree / name) for number, name in enumerate(names)]
    pictures, places, others = list[str](), list[Place](), Counter[str]()
    looked = units.run(entries_of, pieces, things="shards", label=f"look at {tree.name}")
    for shard, piece, found in zip(names, pieces, looked, strict=True):
        pictures += [f"{shard}/{name}" for name in found.names]
        places += [Place(piece.of, found.length, offset, size) for offset, size in found.places.tolist()]
        others += found.others
    return pictures, places, others


def entries_of(unit: Unit) -> Entries:
    """What lies in a shard. Raises UserError for one that is cut or broken."""
    names, places, others = list[str](), list[tuple[int, int]](), Counter[str]()
    try:
        with unit.of.open("rb") as file:
            for _, info in iter_headers(file, seeks=True):
                name = str(inner_path(unit.of, info.name))
                if info.isreg() and not (why := cause(name, info.size)):
                    names.append(name)
                    places.append((info.offset_data, info.size))
                elif not info.isdir():
                    others[why if info.isreg() else NO_FILE] += 1
            length = os.fstat(file.fileno()).st_size
    except UNREADABLE as error:
        raise UserError(f"{unit.of} {fault(unit.of, error)}; fetch it again, or move it elsewhere") from None
    return Entries(length, names, np.array(places, np.int64).reshape(-1, 2), others)


def cause(name: str, size: int) -> str:
    """Why a member is passed over; empty where it is not."""
    if name.rpartition("/")[2].startswith("."):
        return HIDDEN
    if not is_picture(name):
        return f"{suffix_of(name) or 'without a suffix'} in shards"
    return f"of more than {MOST_BYTES:,} bytes in shards" if size > MOST_BYTES else ""


def first_missing(names: Sequence[PurePath]) -> str:
    """The first shard that is not there though one before it and one behind it are; empty where there is none."""
    numbered = sorted(
        (name for name in names if re.fullmatch("[0-9]{1,12}", name.stem)),
        key=lambda name: (name.parent, int(name.stem)),
    )
    for before, name in pairwise(numbered):
        if name.parent == before.parent and int(name.stem) > (expected := int(before.stem) + 1):
            return str(before.with_stem(f"{expected:0{len(before.stem)}}"))
    return ""
