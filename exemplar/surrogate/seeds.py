"""Where to cut: seed patches are drawn by gradient energy, at several scales (paper, section 2).

As in the release the energy of an image is its squared high-pass response on every 4th pixel, smoothed over about the
size of a patch. A seed at scale s is 32 / s pixels wide in its image.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS, copy_images
from exemplar.datasets.streams import torch_stream
from exemplar.errors import UserError
from exemplar.io.arrays import from_bytes
from exemplar.runtime.progress import track
from exemplar.surrogate.energy import STEP, centres, energy_maps, has_energy, overlaps

CHUNK = 512
NEIGHBOURHOOD = 2
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


def draw_scales(maps: Sequence[Float[Tensor, "b _ _"]], *, generator: torch.Generator) -> Int64[Tensor, " b"]:
    """One map per image, each as likely as the others; the next that has energy stands in for one that has none."""
    drawn = torch.randint(len(maps), (len(maps[0]),), generator=generator)
    turns = (drawn[:, None] + torch.arange(len(maps))) % len(maps)
    first = torch.stack([has_energy(energy) for energy in maps], 1).gather(1, turns).int().argmax(1)
    return turns.gather(1, first[:, None])[:, 0]


def draw_cells(energy: Float[Tensor, "b g v"], *, generator: torch.Generator) -> Int64[Tensor, "b 2"]:
    """One cell (row, column) per map, with probability proportional to its energy; -1 for a map without any."""
    alive = has_energy(energy)[:, None]
    drawn = torch.multinomial(torch.where(alive, energy.flatten(1), 1.0), 1, generator=generator)[:, 0]
    return torch.where(alive, torch.stack([drawn // energy.shape[2], drawn % energy.shape[2]], 1), -1)


def without_neighbourhood(energy: Float[Tensor, "b g v"], cells: Int64[Tensor, "b 2"]) -> Float[Tensor, "b g v"]:
    """The maps without the drawn cells and what is next to them, so that no seed is cut twice."""
    rows, columns = (torch.arange(side) for side in energy.shape[1:])
    near = ((rows - cells[:, :1]).abs() <= NEIGHBOURHOOD)[:, :, None] & (
        (columns - cells[:, 1:]).abs() <= NEIGHBOURHOOD
    )[:, None]
    return energy.masked_fill(near, 0)


def draw_from(
    images: UInt8[Tensor, "b 3 h w"],
    *,
    rounds: int,
    scales: Sequence[float],
    most_overlap: float | None,
    generator: torch.Generator,
) -> Float[np.ndarray, "n 5"]:
    """One seed per image and round while it has room, each at a scale of its own: rows (round, index, x, y, side).

    No two seeds of an image have an intersection over union above `most_overlap`, whatever their scales; None: they
    only keep 2 cells apart where their scale is the same.
    """
    maps = [energy_maps(images, scale) for scale in scales]
    size, rows = (images.shape[2], images.shape[3]), []
    for turn in range(rounds):
        choice = draw_scales(maps, generator=generator)
        for number, (scale, energy) in enumerate(zip(scales, maps, strict=True)):
            wanted = torch.nonzero(choice == number)[:, 0]
            cells = draw_cells(energy[wanted], generator=generator)
            drawn, cells = wanted[cells[:, 0] >= 0], cells[cells[:, 0] >= 0]
            energy[drawn] = without_neighbourhood(energy[drawn], cells)
            shape = (energy.shape[1], energy.shape[2])
            centre, side = centres(cells.numpy(), shape, scale, size), PATCH_PIXELS / scale
            if most_overlap is not None:
                for other, its_energy in zip(scales, maps, strict=True):
                    overlap = overlaps(centre, side, shape=its_energy.shape[1:], scale=other, size=size)
                    its_energy[drawn] = its_energy[drawn].masked_fill(torch.from_numpy(overlap > most_overlap), 0)
            turns, sides = np.full(len(drawn), turn), np.full(len(drawn), side)
            rows.append(np.column_stack([turns, drawn.numpy(), centre, sides]))
    table = np.concatenate(rows)
    # Back to the images' own order: sorted by scale, a set that is cut short would lack the last scales.
    return table[np.lexsort((table[:, 1], table[:, 0]))]


def draw(
    images: UInt8[np.ndarray, "n 3 h w"],
    *,
    count: int,
    scales: Sequence[float],
    most_overlap: float | None,
    random_seed: int,
) -> Seeds:
    """Draw `count` seeds out of `images`, as few per image as will do: one each where there are enough images.

    Two seeds of an image have an intersection over union of `most_overlap` or less; None does not ask for that.

    Images are drawn by energy, so that flat ones come last, and read in chunks. Raises UserError when they cannot give
    that many seeds.
    """
    usable = [scale for scale in scales if int(min(images.shape[2:]) * scale + 1e-6) >= PATCH_PIXELS]
    if not usable:
        needed = math.ceil(1000 * PATCH_PIXELS / min(images.shape[2:])) / 1000
        raise UserError(
            f"seeds.scales {list(scales)} make images of {images.shape[2]} x {images.shape[3]} smaller than seeds; "
            + (f"expected a scale of at least {needed}" if needed <= 1 else f"expected {PATCH_PIXELS} pixels or more")
        )
    most = len(images) * sum(math.prod(math.ceil(side * scale / STEP) for side in images.shape[2:]) for scale in usable)
    if count > most:
        raise UserError(f"seeds.count is {count}, but these {len(images)} images have only {most} places; lower it")
    generator = torch_stream(random_seed, "seeds")
    order = draw_order(images, scale=max(usable), generator=generator)
    rounds = -(-count // len(images))
    while True:
        rows = draw_rounds(
            images,
            order,
            count=count,
            rounds=rounds,
            scales=usable,
            most_overlap=most_overlap,
            generator=generator,
        )
        if len(rows) >= count:
            break
        if not (rows[:, 0] == rounds - 1).any():
            raise UserError(
                f"seeds.count is {count}, but these {len(images)} images give only {len(rows)} seeds"
                + (f" at seeds.most_overlap {most_overlap}; lower count" if most_overlap is not None else "; lower it")
            )
        rounds += max(1, (count - len(rows)) // len(images))
    rows = rows[np.argsort(rows[:, 0], kind="stable")][:count]
    return Seeds(image=rows[:, 1].astype(np.int64), centre=rows[:, 2:4], side=rows[:, 4])


def draw_order(
    images: UInt8[np.ndarray, "n 3 h w"], *, scale: float, generator: torch.Generator
) -> Int64[np.ndarray, " n"]:
    """All images, each next one drawn with probability proportional to its mean energy; those without come last."""
    chunks = range(0, len(images), CHUNK)
    energy = torch.cat(
        [
            energy_maps(torch.from_numpy(copy_images(images, slice(start, start + CHUNK))), scale).mean((1, 2))
            for start in chunks
        ]
    )
    # Waiting times with these rates end in the order of such draws (Efraimidis and Spirakis, 2006).
    waiting = torch.empty_like(energy, dtype=torch.float64).exponential_(generator=generator) / energy.double()
    return waiting.argsort(stable=True).numpy()


def draw_rounds(
    images: UInt8[np.ndarray, "n 3 h w"],
    order: Int64[np.ndarray, " n"],
    *,
    count: int,
    rounds: int,
    scales: Sequence[float],
    most_overlap: float | None,
    generator: torch.Generator,
) -> Float[np.ndarray, "m 5"]:
    """Visit the images in `order`, chunk by chunk, and stop early where one round is enough."""
    rows: list[Float[np.ndarray, "m 5"]] = []
    with track(total=min(count, len(images) * rounds), unit="seeds", label="seeds") as progress:
        for start in range(0, len(order), CHUNK):
            chosen = order[start : start + CHUNK]
            drawn = draw_from(
                torch.from_numpy(copy_images(images, chosen)),
                rounds=rounds,
                scales=scales,
                most_overlap=most_overlap,
                generator=generator,
            )
            drawn[:, 1] = chosen[drawn[:, 1].astype(np.int64)]
            rows.append(drawn)
            progress.advance(len(drawn))
            if rounds == 1 and sum(map(len, rows)) >= count:
                break
    return np.concatenate(rows)
