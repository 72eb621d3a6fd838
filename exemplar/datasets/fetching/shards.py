"""Tar shards as webdataset and img2dataset write them: pictures and what is known of each, `KEY.jpg` beside `KEY.json`.

A shard is read once to find where its pictures lie, and they are then read in place.
"""

import io
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from exemplar.datasets.fetching.archives import UNREADABLE, fault, inner_path
from exemplar.datasets.fetching.unpacking import iter_headers
from exemplar.errors import UserError
from exemplar.io.trees import HIDDEN, NO_FILE, is_picture
from exemplar.runtime import units
from exemplar.runtime.units import Unit

MOST_BYTES = 1 << 26  # of a picture


class Place(NamedTuple):
    """Where a picture lies: the shard, the first byte in it, and how many there are."""

    shard: Path
    offset: int
    size: int

    def read(self) -> io.BytesIO:
        """The picture's file."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def find(tree: Path, names: Sequence[PurePath]) -> tuple[list[tuple[PurePath, Place]], Counter[str]]:
    """The pictures of shards in their order, each with its path below the tree, and how many members are none."""
    pieces = [Unit(range(number, number + 1), tree / name) for number, name in enumerate(names)]
    found, others = list[tuple[PurePath, Place]](), Counter[str]()
    looked = units.run(entries_of, pieces, things="shards", label=f"look at {tree.name}")
    for shard, (entries, passed_over) in zip(names, looked, strict=True):
        found += [(shard / name, Place(tree / shard, offset, size)) for name, offset, size in entries]
        others += passed_over
    return found, others


def entries_of(unit: Unit) -> tuple[list[tuple[str, int, int]], Counter[str]]:
    """The names, first bytes and lengths of the pictures of a shard, and how many members are none, by their cause.

    Raises UserError for a shard that is cut or broken.
    """
    entries, others = list[tuple[str, int, int]](), Counter[str]()
    try:
        with unit.of.open("rb") as file:
            for _, info in iter_headers(file):
                path = inner_path(unit.of, info.name)
                if info.isreg() and not (why := cause(path, info.size)):
                    entries.append((str(path), info.offset_data, info.size))
                elif not info.isdir():
                    others[why if info.isreg() else NO_FILE] += 1
    except UNREADABLE as error:
        raise UserError(f"{unit.of} {fault(unit.of, error)}; fetch it again, or move it elsewhere") from None
    return entries, others


def cause(path: PurePosixPath, size: int) -> str:
    """Why a member is passed over; empty where it is not."""
    if path.name.startswith("."):
        return HIDDEN
    if not is_picture(path):
        return f"{path.suffix.lower() or 'without a suffix'} in shards"
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
