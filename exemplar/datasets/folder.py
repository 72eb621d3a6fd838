"""Pictures of your own: any tree of picture files, for labels one subfolder per class.

The archive is the path of the tree, in which tar shards may hold unlabeled pictures. A picture gives its largest middle
square, scaled to `side` pixels. Links to folders are followed, and what is not taken is counted and told with its
cause. Both functions take all of `sources.folder.options`.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped, UInt8
from PIL import Image

from exemplar.datasets.base import UNFINISHED, save_protocol
from exemplar.datasets.fetching.shards import first_missing, source_of
from exemplar.datasets.images import cropped, decode, explained, glance, iter_parts, opened
from exemplar.datasets.splits import draw_orders, require_members, take
from exemplar.datasets.tree import DEEP_BITS, Read, Survey, find_classes, say, survey, top
from exemplar.errors import UserError
from exemplar.io.arrays import move_rows
from exemplar.io.atomic import put_beside
from exemplar.io.integrity import require_space
from exemplar.runtime import units
from exemplar.runtime.memory import at_once
from exemplar.runtime.units import Unit

FEWER = "; lower sources.folder.options.train_per_class, or add pictures"
ASIDE = "; move it elsewhere, or set sources.folder.options.skip_broken to true"
MOST, MOST_OF = 1_000_000, {"side": 2048, "folds": 1000}  # of the options that are counts
MOST_CLASSES = 2000  # whose table of mistakes fits into a record of 32 MB
PICTURES = 512  # of a unit; fewer large ones


def write_unlabeled(
    archive: Path | None, folder: Path, *, side: int, train_per_class: int, folds: int, skip_broken: bool
) -> None:
    """Write every picture of the tree into `folder`; `train_per_class` and `folds` concern labels only."""
    tree = existing(archive)
    require_counts(side=side, train_per_class=train_per_class, folds=folds)
    found = survey(tree, shards=True)
    if missing := first_missing(found.shards):
        told = f"{tree}: the shard {missing} is missing between others"
        if not skip_broken:
            raise UserError(f"{told}; fetch it, or set sources.folder.options.skip_broken to true")
        say(f"warning: {told}")
    read = write_images(found, folder, side=side, skip_broken=skip_broken)
    read.tell(found)
    if copies := read.count_copies():
        say(
            f"warning: {copies:,} of {len(read.paths):,} pictures are copies of others (the same pixels); seeds of "
            "copies are told apart in vain"
        )


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
    found = survey(tree)
    classes, least = find_classes(found), train_per_class + 1
    if len(classes) > MOST_CLASSES:
        raise UserError(f"{tree} has {len(classes):,} classes; at most {MOST_CLASSES:,} are compared, so take some out")
    require_members(
        by_class(found.pictures, classes), classes, least=least, remedy=lambda name: found.said(name) + FEWER
    )
    read = write_images(found, folder, side=side, skip_broken=skip_broken)
    groups = by_class(read.paths, classes)
    # again: broken pictures may have been skipped
    require_members(groups, classes, least=least, remedy=lambda name: found.said(name) + FEWER)
    orders = draw_orders(groups, folds=folds)
    train, test = take(orders, 0, train_per_class), take(orders, train_per_class)
    labels = np.empty(len(read.paths), np.int64)
    for label, group in enumerate(groups):
        labels[group] = label
    read.tell(found)
    read.tell_copies(labels, train, test)
    save_protocol(folder, labels=labels, train=train, test=test, classes=tuple(classes))


def require_usable(archive: Path) -> None:
    """Raise UserError for a tree without a picture whose header can be read, before its md5 is asked for."""
    found, refused = survey(existing(archive), shards=True), ""
    for path, place in zip(found.pictures, found.places, strict=True):
        try:
            source = source_of(found.tree, path, place)
            with explained(path, source), opened(source):
                return
        except UserError as error:
            refused = refused or str(error)
    raise UserError(f"{found.tree} has no picture that can be read{found.said()}; the first: {refused}")


def by_class(paths: Sequence[str], classes: Sequence[str]) -> list[Int64[np.ndarray, " _"]]:
    """For each class, the places of its pictures."""
    places: dict[str, list[int]] = {name: [] for name in classes}
    for place, path in enumerate(paths):
        places[top(path)].append(place)
    return [np.array(group, np.int64) for group in places.values()]


def existing(archive: Path | None) -> Path:
    """The tree; raises UserError where there is none."""
    if archive is None or not archive.is_dir():
        raise UserError(
            f"{archive} is no folder; expected the path of a tree of pictures as `sources.folder.url`, unpacked"
        )
    return Path(os.path.realpath(archive))  # a worker may have another working directory


def require_counts(**counts: int) -> None:
    """Raise UserError for a count below 1, and for one that no machine has room for."""
    for name, count in counts.items():
        most = MOST_OF.get(name, MOST)
        if not 1 <= count <= most:
            raise UserError(f"sources.folder.options.{name} is {count}; expected a number from 1 to {most:,}")


def write_images(found: Survey, folder: Path, *, side: int, skip_broken: bool) -> Read:
    """Write the pictures that were found but for broken ones, which end it or are told and skipped."""
    size = at_once(PICTURES, bytes_each=3 * side * side)
    with units.unfinished_in(folder / UNFINISHED) as unfinished:
        images = unfinished / "images.npy"
        if not images.exists():  # else its room is reserved already
            require_space(folder, needed_bytes=len(found.pictures) * 3 * side * side)
        read = examine(found, unfinished)
        notes = units.fill(
            images,
            partial(squares_of, found.tree, side, read.bits, skip_broken),
            pieces(found, size),
            shape=(len(found.pictures), 3, side, side),
            kind=np.uint8,
            things="images",
            label=f"read {found.tree.name}",
        )
        for path, (digest, brightest, said) in zip(found.pictures, chain.from_iterable(notes), strict=True):
            if said:
                say(f"skipped: {said.decode()}")
                read.skipped += 1
            else:
                read.paths.append(path)
                read.digests.append(digest.decode())
                read.brightest = max(read.brightest, int(brightest))
        if not read.paths:
            raise UserError(f"{found.tree} has no picture that is whole{found.said()}")
        if read.skipped:
            whole = np.concatenate([note["said"] == b"" for note in notes])
            move_rows(images, unfinished / "whole.npy", whole, at_once=size)
            images = unfinished / "whole.npy"
        put_beside(images, folder / "images.npy")
    return read


def pieces(found: Survey, size: int) -> list[Unit]:
    """The pictures in units of so many."""
    pictures = list(zip(found.pictures, found.places, strict=True))
    return [Unit(rows, pictures[rows.start : rows.stop]) for rows in units.ranges(len(pictures), size)]


def examine(found: Survey, unfinished: Path) -> Read:
    """Look at all headers first: the bits of deep grey values are those that the largest of the whole set needs."""
    look, kept, label = partial(glances, found.tree), unfinished / "headers", f"look at {found.tree.name}"
    seen = np.concatenate(units.run(look, pieces(found, PICTURES), things="headers", label=label, kept=kept))
    read, most = Read(several=int(seen[:, 0].sum()), deep=int((seen[:, 1] > 0).sum())), int(seen[:, 1].max())
    if most:
        read.bits = min(max(most.bit_length(), 8), DEEP_BITS)
    return read


def glances(tree: Path, unit: Unit) -> Int64[np.ndarray, "n 2"]:
    """What the headers of some pictures say: whether there are several in the file, and the largest deep value."""
    seen = [glance(source_of(tree, path, place)) for path, place in unit.of]
    return np.array([[each.several, each.most_value] for each in seen], np.int64)


def squares_of(
    tree: Path, side: int, bits: int, skip_broken: bool, unit: Unit
) -> tuple[UInt8[np.ndarray, "n 3 side side"], Shaped[np.ndarray, " n"]]:
    """The squares of some pictures; of each the digest and the brightest value, or what is said where it is broken."""
    squares, notes = np.zeros((len(unit.of), 3, side, side), np.uint8), []
    for square, (path, place) in zip(squares, unit.of, strict=True):
        source = source_of(tree, path, place)  # what another machine lacks is not skipped as broken
        try:
            picture = decode(source, name=str(tree / path), bits=bits)
        except UserError as error:
            if not skip_broken:
                raise UserError(f"{error}{ASIDE}") from None
            notes.append(("", 0, str(error).encode(errors="replace")))
            continue
        square[...] = cropped(picture, side_pixels=side)
        notes.append((digest_of_pixels(picture), int(square.max()), b""))
    longest = max(1, *(len(said) for _, _, said in notes))
    return squares, np.array(notes, [("digest", "S32"), ("brightest", "u1"), ("said", f"S{longest}")])


def digest_of_pixels(picture: Image.Image) -> str:
    """What two pictures share when and only when they look alike to the last bit, whatever their files are."""
    digest = hashlib.md5(f"{picture.size}".encode(), usedforsecurity=False)
    for _, part in iter_parts(picture):
        digest.update(part.tobytes())
    return digest.hexdigest()
