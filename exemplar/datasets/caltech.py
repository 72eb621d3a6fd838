"""What Caltech-101 and Caltech-256 share: a tar of class folders with pictures of any size, and random splits."""

from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np

from exemplar.datasets.base import save_protocol
from exemplar.datasets.fetching.archives import members
from exemplar.datasets.images import decode, growing, stretched
from exemplar.datasets.splits import draw_orders, require_members, take
from exemplar.errors import UserError

FOLDS, TRAIN_PER_CLASS = 10, 30
MOST_BYTES = 1 << 26
MOST_PICTURES = 50_000  # Caltech-256 has 30,607; of 256 x 256 pixels these take 10 GB of the disk


def write_images(
    archive: Path | None, folder: Path, *, root: str, left_out: str, side_pixels: int
) -> list[PurePosixPath]:
    """Write the pictures `root/<class>/<name>.jpg` of all classes but `left_out`; returns `<class>/<name>.jpg` of each.

    A picture is scaled to a square whole, since its object may reach its borders; the paper gives the size only.
    """
    paths: dict[PurePosixPath, None] = {}
    with growing(folder / "images.npy", side_pixels=side_pixels) as images:
        for member in members(archive, inside=root):
            path = PurePosixPath(*member.path.parts[-2:])
            # what lies deeper or has another suffix (056.dog/greg/, 198.spider/RENAME2) was left behind by its authors
            if member.path.parts[-3:-2] != (root,) or path.suffix != ".jpg" or path.name.startswith("."):
                continue
            if path.parts[0] == left_out:
                continue
            if path in paths:
                raise UserError(f"{archive} has {str(path)!r} twice; it might be trained on and tested on")
            if len(paths) == MOST_PICTURES:
                raise UserError(f"{archive} has more than {MOST_PICTURES:,} pictures; expected one of Caltech's sets")
            paths[path] = None
            picture = decode(BytesIO(member.read(most_bytes=MOST_BYTES)), name=f"{archive}: {str(member.path)!r}")
            images.append(stretched(picture, side_pixels=side_pixels)[None])
    if not paths:
        raise UserError(
            f"{archive} has no pictures under {root!r}; expected that folder or an archive of it, with class folders"
        )
    return list(paths)


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
