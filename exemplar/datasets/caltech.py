"""What Caltech-101 and Caltech-256 share: an archive of class folders with pictures of any size, and random splits."""

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

from exemplar.datasets.base import UNFINISHED, save_protocol
from exemplar.datasets.fetching.archives import members
from exemplar.datasets.fetching.shards import Place
from exemplar.datasets.images import decode, stretched
from exemplar.datasets.splits import draw_orders, require_members, take
from exemplar.errors import UserError
from exemplar.io.atomic import put_beside, remove
from exemplar.io.integrity import require_space
from exemplar.runtime import units
from exemplar.runtime.units import Unit

FOLDS, TRAIN_PER_CLASS = 10, 30
PICTURES = 512  # of a unit
MOST_BYTES = 1 << 26
MOST_PICTURES = 50_000  # Caltech-256 has 30,607; of 256 x 256 pixels these take 10 GB of the disk
MOST_BYTES_TOGETHER = 1 << 32  # those of Caltech-256 have 1.2 GB


def write_images(
    archive: Path | None, folder: Path, *, root: str, left_out: str, side_pixels: int
) -> list[PurePosixPath]:
    """Write the pictures `root/<class>/<name>.jpg` of all classes but `left_out`; returns `<class>/<name>.jpg` of each.

    They are copied out of the archive first, since whoever decodes some of them cannot unpack all that lies before.
    """
    with units.unfinished_in(folder / UNFINISHED) as unfinished:
        copied = unfinished / "pictures"
        try:
            found = copy_pictures(archive, copied, root=root, left_out=left_out)
            length = copied.stat().st_size
            pictures = [(name, Place(copied, length, offset, size)) for name, offset, size in found.values()]
            if not (unfinished / "images.npy").exists():  # else its room is reserved already
                require_space(folder, needed_bytes=len(pictures) * 3 * side_pixels**2)
            units.fill(
                unfinished / "images.npy",
                partial(squares_of, side_pixels),
                [Unit(rows, pictures[rows.start : rows.stop]) for rows in units.ranges(len(pictures), PICTURES)],
                shape=(len(pictures), 3, side_pixels, side_pixels),
                kind=np.uint8,
                things="images",
                label=f"decode {root}",
            )
        finally:
            copied.unlink(missing_ok=True)
        put_beside(unfinished / "images.npy", folder / "images.npy")
    return list(found)


def copy_pictures(
    archive: Path | None, copied: Path, *, root: str, left_out: str
) -> dict[PurePosixPath, tuple[str, int, int]]:
    """Copy the pictures one behind the other into a file; of each its name for messages, first byte and length."""
    found: dict[PurePosixPath, tuple[str, int, int]] = {}
    remove(copied)  # what a kill has left
    with copied.open("xb") as file:
        for member in members(archive, inside=root):
            path = PurePosixPath(*member.path.parts[-2:])
            # what lies deeper or has another suffix (056.dog/greg/, 198.spider/RENAME2) was left behind by its authors
            if member.path.parts[-3:-2] != (root,) or path.suffix != ".jpg" or path.name.startswith("."):
                continue
            if path.parts[0] == left_out:
                continue
            if path in found:
                raise UserError(f"{archive} has {str(path)!r} twice; it might be trained on and tested on")
            if len(found) == MOST_PICTURES or file.tell() + member.size > MOST_BYTES_TOGETHER:
                raise UserError(
                    f"{archive} has more than {MOST_PICTURES:,} pictures, or {MOST_BYTES_TOGETHER:,} bytes of them; "
                    "expected one of Caltech's sets"
                )
            found[path] = f"{archive}: {str(member.path)!r}", file.tell(), member.size
            file.write(member.read(most_bytes=MOST_BYTES))
    if not found:
        raise UserError(
            f"{archive} has no pictures under {root!r}; expected that folder or an archive of it, with class folders"
        )
    return found


def squares_of(side_pixels: int, unit: Unit) -> tuple[UInt8[np.ndarray, "n 3 side side"], UInt8[np.ndarray, "0"]]:
    """The pictures of a unit, of which nothing is to be noted.

    A picture is scaled to a square whole, since its object may reach its borders; the paper gives the size only.
    """
    pictures = (decode(place.read(), name=name) for name, place in unit.of)
    return np.stack([stretched(picture, side_pixels=side_pixels) for picture in pictures]), np.empty(0, np.uint8)


def save_splits(folder: Path, paths: list[PurePosixPath], *, test_per_class: int | None) -> None:
    """Draw 10 splits with 30 training images a class, and at most `test_per_class` of the others for testing.

    The draws go by the names of the pictures, so that an archive packed in another order gives the same splits.
    """
    names = sorted({path.parts[0] for path in paths})
    order = sorted(range(len(paths)), key=paths.__getitem__)
    groups = [np.array([place for place in order if paths[place].parts[0] == name], np.int64) for name in names]
    require_members(groups, names, least=TRAIN_PER_CLASS + 1)
    orders = draw_orders(groups, folds=FOLDS)
    last = None if test_per_class is None else TRAIN_PER_CLASS + test_per_class
    save_protocol(
        folder,
        labels=np.array([names.index(path.parts[0]) for path in paths], np.int64),
        train=take(orders, 0, TRAIN_PER_CLASS),
        test=take(orders, TRAIN_PER_CLASS, last),
        classes=tuple(names),
    )
