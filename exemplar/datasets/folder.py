"""Pictures of your own: any tree of picture files, for labels one subfolder per class.

The archive is the path of the tree. A picture gives its largest middle square, scaled to `side` pixels. Links to
folders are followed, and what is not taken is counted and told with its cause. Both functions take all of
`sources.folder.options`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Int64
from PIL import Image

from exemplar.datasets.base import save_protocol
from exemplar.datasets.images import cropped, decode, glance, growing, iter_parts
from exemplar.datasets.splits import draw_orders, require_members, take
from exemplar.datasets.tree import Survey, find_classes, say, survey
from exemplar.errors import UserError
from exemplar.io.integrity import require_space
from exemplar.runtime.progress import track

FEWER = "; lower sources.folder.options.train_per_class, or add pictures"
ASIDE = "; move it elsewhere, or set sources.folder.options.skip_broken to true"
MOST, MOST_OF = 1_000_000, {"side": 2048, "folds": 1000}  # of the options that are counts
MOST_CLASSES = 2000  # whose table of mistakes fits into a record of 32 MB
DEEP_BITS, DIM_VALUE = 16, 64  # a set without a value of 64 or more, of 255, is nearly black


def write_unlabeled(
    archive: Path | None, folder: Path, *, side: int, train_per_class: int, folds: int, skip_broken: bool
) -> None:
    """Write every picture of the tree into `folder`; `train_per_class` and `folds` concern labels only."""
    tree = existing(archive)
    require_counts(side=side, train_per_class=train_per_class, folds=folds)
    found = survey(tree)
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


def by_class(paths: Sequence[PurePath], classes: Sequence[str]) -> list[Int64[np.ndarray, " _"]]:
    """For each class, the places of its pictures."""
    places: dict[str, list[int]] = {name: [] for name in classes}
    for place, path in enumerate(paths):
        places[path.parts[0]].append(place)
    return [np.array(group, np.int64) for group in places.values()]


def existing(archive: Path | None) -> Path:
    """The tree; raises UserError where there is none."""
    if archive is None or not archive.is_dir():
        raise UserError(
            f"{archive} is no folder; expected the path of a tree of pictures as `sources.folder.url`, unpacked"
        )
    return archive


def require_counts(**counts: int) -> None:
    """Raise UserError for a count below 1, and for one that no machine has room for."""
    for name, count in counts.items():
        most = MOST_OF.get(name, MOST)
        if not 1 <= count <= most:
            raise UserError(f"sources.folder.options.{name} is {count}; expected a number from 1 to {most:,}")


@dataclass
class Read:
    """What reading the pictures found: the paths and digests of those that were written, and counts of what to tell."""

    paths: list[PurePath] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    brightest: int = 0
    skipped: int = 0
    several: int = 0
    deep: int = 0
    bits: int = DEEP_BITS

    def tell(self, found: Survey) -> None:
        """Say how many pictures are taken, what is passed over, and what of a picture is lost."""
        skipped = f"; {self.skipped:,} skipped" if self.skipped else ""
        if skipped or found.others:
            say(f"{len(self.paths):,} pictures of {found.tree} are taken{skipped}{found.said()}")
        if self.several:
            say(f"{self.several:,} files are animations or have several pages; the first picture of each is taken")
        if self.bits < DEEP_BITS:
            say(f"{self.deep:,} pictures have 16 bits a value, of which the set uses {self.bits}; the upper 8 are kept")
        if self.brightest < DIM_VALUE:
            say(
                f"warning: no value of any picture is above {self.brightest} of 255; if they are not that dark, their "
                "files hold fewer bits than they say, so save them with 8 bits a value"
            )

    def count_copies(self) -> int:
        """How many pictures have the same pixels as others."""
        return sum(count for count in Counter(self.digests).values() if count > 1)

    def tell_copies(
        self, labels: Int64[np.ndarray, " n"], train: Int64[np.ndarray, "f m"], test: Int64[np.ndarray, "f t"]
    ) -> None:
        """Say how many pictures have the same pixels as others, and how many are tested after training on them."""
        copies = self.count_copies()
        if not copies:
            return
        digests = np.array(self.digests)
        across = max(int(np.isin(digests[test[fold]], digests[train[fold]]).sum()) for fold in range(len(train)))
        classes = defaultdict(set)
        for digest, label in zip(self.digests, labels.tolist(), strict=True):
            classes[digest].add(label)
        between = sum(len(classes[digest]) > 1 for digest in self.digests)
        say(
            f"warning: {copies:,} of {len(digests):,} pictures are copies of others (the same pixels), {between:,} in "
            f"several classes; in a fold up to {across:,} of {test.shape[1]:,} test pictures are also trained on"
        )


def write_images(found: Survey, folder: Path, *, side: int, skip_broken: bool) -> Read:
    """Write the pictures that were found but for broken ones, which end it or are told and skipped."""
    require_space(folder, needed_bytes=len(found.pictures) * 3 * side * side)
    read = examine(found)
    with (
        growing(folder / "images.npy", side_pixels=side) as images,
        track(total=len(found.pictures), unit="images", label=f"read {found.tree.name}") as progress,
    ):
        for path in found.pictures:
            progress.advance(1)
            try:
                picture = decode(found.tree / path, name=str(found.tree / path), bits=read.bits)
            except UserError as error:
                if not skip_broken:
                    raise UserError(f"{error}{ASIDE}") from None
                say(f"skipped: {error}")
                read.skipped += 1
                continue
            square = cropped(picture, side_pixels=side)
            images.append(square[None])
            read.paths.append(path)
            read.digests.append(digest_of_pixels(picture))
            read.brightest = max(read.brightest, int(square.max()))
    if not read.paths:
        raise UserError(f"{found.tree} has no picture that is whole{found.said()}")
    return read


def examine(found: Survey) -> Read:
    """Look at all headers first: the bits of deep grey values are those that the largest of the whole set needs."""
    read, most = Read(), 0
    for path in found.pictures:
        seen = glance(found.tree / path)
        read.several += seen.several
        read.deep += seen.most_value > 0
        most = max(most, seen.most_value)
    if most:
        read.bits = min(max(most.bit_length(), 8), DEEP_BITS)
    return read


def digest_of_pixels(picture: Image.Image) -> str:
    """What two pictures share when and only when they look alike to the last bit, whatever their files are."""
    digest = hashlib.md5(f"{picture.size}".encode(), usedforsecurity=False)
    for _, part in iter_parts(picture):
        digest.update(part.tobytes())
    return digest.hexdigest()
