"""Pictures of your own: any tree of JPEG, PNG and WebP files, for labels one subfolder per class.

The archive is the path of the tree. A picture gives its largest middle square, scaled to `side` pixels; hidden files
and files with other suffixes are passed over. Both functions take all of `sources.folder.options`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Int64

from exemplar.datasets.base import save_protocol
from exemplar.datasets.images import cropped, decode, growing
from exemplar.datasets.splits import draw_orders, require_members, take
from exemplar.errors import UserError
from exemplar.io.integrity import require_space
from exemplar.io.sources import visible_files
from exemplar.runtime.progress import track

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FEWER = "; lower sources.folder.options.train_per_class, or add pictures"


def write_unlabeled(
    archive: Path | None, folder: Path, *, side: int, train_per_class: int, folds: int, skip_broken: bool
) -> None:
    """Write every picture of the tree into `folder`; `train_per_class` and `folds` concern labels only."""
    tree = existing(archive)
    require_counts(side=side, train_per_class=train_per_class, folds=folds)
    write_images(tree, pictures(tree), folder, side=side, skip_broken=skip_broken)


def write_labeled(
    archive: Path | None,
    folder: Path,
    *,
    side: int,
    train_per_class: int,
    folds: int,
    skip_broken: bool,
) -> None:
    """Write every picture into `folder`, and `folds` random splits into `train_per_class` for training and the rest.

    A class is a subfolder of the tree, with all that lies in and below it.
    """
    tree = existing(archive)
    require_counts(side=side, train_per_class=train_per_class, folds=folds)
    paths = pictures(tree)
    for path in paths:
        if len(path.parts) < 2:
            raise UserError(f"{tree}: the picture {str(path)!r} lies in no class; expected one subfolder per class")
    classes = sorted(entry.name for entry in tree.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    require_members(by_class(paths, classes), classes, least=train_per_class + 1, remedy=FEWER)
    paths = write_images(tree, paths, folder, side=side, skip_broken=skip_broken)
    groups = by_class(paths, classes)
    # again: broken pictures may have been skipped
    require_members(groups, classes, least=train_per_class + 1, remedy=FEWER)
    orders = draw_orders(groups, folds=folds)
    train, test = take(orders, 0, train_per_class), take(orders, train_per_class)
    labels = np.empty(len(paths), np.int64)
    for label, group in enumerate(groups):
        labels[group] = label
    # a name that is not UTF-8 comes as surrogates, which no file of text can hold
    names = tuple(name.encode("utf-8", "replace").decode("utf-8") for name in classes)
    save_protocol(folder, labels=labels, train=train, test=test, classes=names)


def by_class(paths: Sequence[PurePath], classes: Sequence[str]) -> list[Int64[np.ndarray, " _"]]:
    """For each class, the places of its pictures."""
    places: dict[str, list[int]] = {name: [] for name in classes}
    for place, path in enumerate(paths):
        places[path.parts[0]].append(place)
    return [np.array(group, np.int64) for group in places.values()]


def existing(archive: Path | None) -> Path:
    """The tree; raises UserError where there is none."""
    if archive is None or not archive.is_dir():
        raise UserError(f"{archive} is no folder; expected the path of a tree of pictures as `sources.folder.url`")
    return archive


def require_counts(**counts: int) -> None:
    """Raise UserError for a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"sources.folder.options.{name} is {count}; expected at least 1")


def pictures(tree: Path) -> list[PurePath]:
    """The paths of all pictures, relative to the tree and sorted."""
    found = [path for path in visible_files(tree) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise UserError(f"{tree} has no pictures; expected files that end in {', '.join(SUFFIXES)}")
    return found


def write_images(
    tree: Path, paths: Sequence[PurePath], folder: Path, *, side: int, skip_broken: bool
) -> list[PurePath]:
    """Write the pictures at `paths`; returns the paths but for those of broken pictures that were told and skipped."""
    require_space(folder, needed_bytes=len(paths) * 3 * side * side)
    whole = []
    with (
        growing(folder / "images.npy", side_pixels=side) as images,
        track(total=len(paths), unit="images", label=f"read {tree.name}") as progress,
    ):
        for path in paths:
            progress.advance(1)
            try:
                picture = decode(tree / path, name=str(tree / path))
            except UserError as error:
                if not skip_broken:
                    raise UserError(f"{error}; remove it, or set sources.folder.options.skip_broken to true") from None
                print(f"skipped: {error}", file=sys.stderr)
                continue
            images.append(cropped(picture, side_pixels=side)[None])
            whole.append(path)
    if not whole:
        raise UserError(f"{tree} has no picture that is whole")
    return whole
