"""Where to cut: seed patches are drawn by gradient energy, at several scales (paper, section 2).

As in the release the energy of an image is its squared high-pass response on every 4th pixel, smoothed over about the
size of a patch. A seed at scale s is 32 / s pixels wide in its image.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar.datasets.base import copy_images
from exemplar.datasets.streams import torch_seed
from exemplar.errors import UserError
from exemplar.io.arrays import from_bytes
from exemplar.runtime import units
from exemplar.runtime.memory import at_once
from exemplar.surrogate.counters import open_uniforms
from exemplar.surrogate.energy import energy_maps
from exemplar.surrogate.rounds import draw_from
from exemplar.surrogate.supply import at, plan

IMAGES = 2048  # of a unit
CHUNK = 512  # of them in memory at a time; fewer large ones
MOST_BYTES = 1 << 26  # of one array; the four million seeds that params.yaml takes have 64 million
# what a zip that is broken anywhere raises
UNREADABLE = (OSError, ValueError, LookupError, EOFError, RuntimeError, BadZipFile, struct.error, zlib.error)


@dataclass(frozen=True)
class Seeds:
    """Which square of which image each seed is: `centre` (x, y) and `side` in that image's pixels."""

    image: Int64[np.ndarray, " n"]
    centre: Float[np.ndarray, "n 2"]
    side: Float[np.ndarray, " n"]

    def save(self, path: Path) -> None:
        """Write the seeds into one .npz file."""
        with path.open("wb") as file:
            np.savez(file, image=self.image, centre=self.centre, side=self.side)

    @classmethod
    def load(cls, path: Path) -> "Seeds":
        """Read what `save` wrote."""
        try:
            with ZipFile(path) as package:  # whose checksums tell a byte that has changed
                if any(info.compress_type or info.file_size > MOST_BYTES for info in package.infolist()):
                    raise ValueError("it is packed, or larger than any seeds")
                image = from_bytes(package.read("image.npy"), kind=np.int64, shape=(None,))
                centre = from_bytes(package.read("centre.npy"), kind=np.float64, shape=(len(image), 2))
                side = from_bytes(package.read("side.npy"), kind=np.float64, shape=(len(image),))
            if image.min() < 0 or side.min() <= 0:
                raise ValueError("a seed lies in no image, or has no side")
            return cls(image=image, centre=centre, side=side)
        except UNREADABLE as error:
            raise UserError(
                f"cannot read the seeds {path} ({error}); remove them and run the seeds stage again"
            ) from None


def draw(
    images: UInt8[np.ndarray, "n 3 h w"],
    *,
    count: int,
    scales: Sequence[float],
    most_overlap: float | None,
    random_seed: int,
    planned: tuple[list[float], int] | None = None,
    kept: Path | None = None,
) -> Seeds:
    """Draw `count` seeds out of `images`, as few per image as will do: one each where there are enough images.

    Two seeds of an image have an intersection over union of `most_overlap` or less; None does not ask for that.

    Images are drawn by energy, so that flat ones come last. What is done of it stays in the folder `kept`; `planned` is
    what `plan` has said of it already. Raises UserError when the images cannot give that many seeds.
    """
    usable, rounds = planned or plan(
        images, count=count, scales=scales, most_overlap=most_overlap, random_seed=random_seed
    )
    order = draw_order(images, scale=max(usable), random_seed=random_seed, kept=kept)
    place = order.argsort()
    taken, turns = min(count, len(images)), 1 if count <= len(images) else rounds
    while True:  # what more rounds give begins with what fewer do
        rows = draw_rounds(
            images,
            np.sort(order[:taken]),
            rounds=turns,
            scales=usable,
            most_overlap=most_overlap,
            key=torch_seed(random_seed, "seeds"),
            kept=kept,
        )
        if len(rows) >= count:
            break
        if taken == len(images) and not (rows[:, 0] == turns - 1).any():
            raise UserError(
                f"seeds.count is {count}, but these {len(images)} images give only {len(rows)} seeds{at(most_overlap)}"
            )
        taken, turns = len(images), max(rounds, 2 * turns)
    image = rows[:, 1].astype(np.int64)
    first = np.lexsort((place[image], rows[:, 0]))[:count]
    return Seeds(image=image[first], centre=rows[first, 2:4], side=rows[first, 4])


def draw_order(
    images: UInt8[np.ndarray, "n 3 h w"], *, scale: float, random_seed: int, kept: Path | None = None
) -> Int64[np.ndarray, " n"]:
    """All images, each next one drawn with probability proportional to its mean energy; those without come last."""
    pieces = [units.Unit(rows, np.arange(rows.start, rows.stop)) for rows in units.ranges(len(images), IMAGES)]
    parts = units.run(
        partial(energies, images, scale), pieces, things="images", label="energy", kept=kept and kept / "energy"
    )
    chance = open_uniforms(torch_seed(random_seed, "images of seeds"), torch.arange(len(images)), 1)[:, 0]
    # Waiting times with these rates end in the order of such draws (Efraimidis and Spirakis, 2006).
    waiting = -chance.log() / torch.from_numpy(np.concatenate(parts)).double()
    return waiting.argsort(stable=True).numpy()


def energies(images: UInt8[np.ndarray, "n 3 h w"], scale: float, unit: units.Unit) -> Float[np.ndarray, " m"]:
    """The mean energy of the images of a unit."""
    found = [energy_maps(part, scale).mean((1, 2)) for part, _ in chunks(images, unit)]
    return torch.cat(found).numpy()


def chunks(
    images: UInt8[np.ndarray, "n 3 h w"], unit: units.Unit
) -> Iterator[tuple[UInt8[Tensor, "b 3 h w"], Int64[Tensor, " b"]]]:
    """The images of a unit, a few at a time, and their numbers."""
    for rows in units.ranges(len(unit.of), at_once(CHUNK, bytes_each=math.prod(images.shape[1:]))):
        which = unit.of[rows.start : rows.stop]
        yield torch.from_numpy(copy_images(images, which)), torch.from_numpy(which)


def draw_rounds(
    images: UInt8[np.ndarray, "n 3 h w"],
    chosen: Int64[np.ndarray, " c"],
    *,
    rounds: int,
    scales: Sequence[float],
    most_overlap: float | None,
    key: int,
    kept: Path | None = None,
) -> Float[np.ndarray, "m 5"]:
    """All that the chosen images give in so many rounds: rows (round, image, x, y, side)."""
    pieces = [units.Unit(rows, chosen[rows.start : rows.stop]) for rows in units.ranges(len(chosen), IMAGES)]
    kept = kept and kept / f"{len(chosen)}-{rounds}"
    draw = partial(unit_rows, images, rounds=rounds, scales=scales, most_overlap=most_overlap, key=key)
    return np.concatenate(units.run(draw, pieces, things="images", label="seeds", kept=kept))


def unit_rows(
    images: UInt8[np.ndarray, "n 3 h w"],
    unit: units.Unit,
    **settings: Any,  # noqa: ANN401  # those of draw_from
) -> Float[np.ndarray, "m 5"]:
    """The seeds of the images of a unit."""
    return np.concatenate([draw_from(part, which, **settings) for part, which in chunks(images, unit)])
