"""Which files of a tree are pictures, which of its folders are classes, and what is said of all that is neither."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Int64

from exemplar import errors
from exemplar.datasets.fetching.shards import Place, find
from exemplar.errors import UserError
from exemplar.io.trees import PICTURES, cause_of, is_picture, is_shard, look, suffix_of

SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
MOST_CAUSES = 12  # of one line: what comes behind a dot need not be one of a few formats
DEEP_BITS, DIM_VALUE = 16, 64  # a set without a value of 64 or more, of 255, is nearly black
RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2")
# What reads the pictures that Pillow does not read by itself.
PACKAGES = {".heic": "pillow-heif", ".heif": "pillow-heif", ".jxl": "pillow-jxl-plugin", **dict.fromkeys(RAW, "rawpy")}


@dataclass(frozen=True)
class Survey:
    """The pictures of a tree, relative to it and in the order of their names, and why each other path is none.

    Those of tar shards have their place there, all others their number of bytes; what else lies in shards is counted.
    """

    tree: Path
    pictures: list[str]
    others: dict[str, str]
    shards: list[PurePath]
    places: list[Place | int]
    beside: Counter[str]

    def said(self, of: str = "") -> str:
        """How many paths are passed over for each cause, in the tree or in one class of it, as the end of a line."""
        causes = Counter(cause for name, cause in self.others.items() if not of or top(name) == of)
        causes += self.beside
        return f"; passed over: {counted(causes)}" if causes else ""


def survey(tree: Path, *, shards: bool = False) -> Survey:
    """Find all pictures by their suffixes, on demand in tar shards too.

    Raises UserError where there are none, where a folder cannot be opened, and for a shard that is broken.
    """
    try:
        found = look(tree)
        files = [name for name in found.files if is_picture(name)]
        sizes = [(tree / name).stat().st_size for name in files]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be opened ({error.strerror}); change its permissions") from None
    tars = [PurePath(name) for name in found.files if shards and is_shard(name)]
    packed, places, beside = find(tree, tars)
    others = {
        name: no_picture(name) for name in found.files if not is_picture(name) and not (shards and is_shard(name))
    }
    surveyed = Survey(tree, files + packed, found.passed_over | others, tars, [*sizes, *places], beside)
    if not surveyed.pictures:
        raise UserError(f"{tree} has no pictures; expected files that end in {', '.join(PICTURES)}{surveyed.said()}")
    return surveyed


def top(name: str) -> str:
    """The first part of a path."""
    return name.partition("/")[0]


def no_picture(name: str) -> str:
    """Why a file is no picture: its suffix, and which package reads it."""
    suffix = suffix_of(name)
    if suffix in PACKAGES:
        return f"{suffix} (convert them, for example with the package {PACKAGES[suffix]})"
    return suffix or "without a suffix"


def counted(causes: Counter[str]) -> str:
    """How often each cause occurs, the most frequent first: `60 .heic, 12 hidden`; beyond MOST_CAUSES, their number."""
    counts = sorted(causes.items(), key=lambda each: (-each[1], each[0]))
    others = sum(count for _, count in counts[MOST_CAUSES:])
    shown = [f"{count:,} {cause}" for cause, count in counts[:MOST_CAUSES]]
    return ", ".join([*shown, f"{others:,} of other kinds"] if others else shown)


@dataclass
class Read:
    """What reading the pictures found: the paths and digests of those that were written, and counts of what to tell."""

    paths: list[str] = field(default_factory=list)
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


def find_classes(found: Survey) -> list[str]:
    """The names of the folders that are classes, those without pictures too.

    Raises UserError for a picture that lies in no class, and for folders that are no classes but lie above them.
    """
    for name in found.pictures:
        if "/" not in name:
            raise UserError(f"{found.tree}: the picture {name!r} lies in no class; expected one subfolder per class")
    folders = [entry for entry in found.tree.iterdir() if entry.is_dir()]
    classes = sorted(path.name for path in folders if path.name not in found.others and not cause_of(path))
    below = subfolders(found, classes)
    if len(classes) > 1 and all(name.lower() in SPLITS for name in classes):
        raise UserError(
            f"{found.tree}: the folders {', '.join(classes)} are parts of a split and no classes; name one of them as "
            f"sources.folder.url, such as {found.tree / classes[0]}"
        )
    if len(classes) == 1:
        deeper = f"; if its subfolders are the classes, name {found.tree / classes[0]}" if below[classes[0]] else ""
        raise UserError(
            f"{found.tree} has one class only, {classes[0]!r}; expected a subfolder for each of two{deeper}"
        )
    shared = set.intersection(*below.values()) if below else set()
    if shared and all(name.count("/") > 1 for name in found.pictures):
        names = ", ".join(sorted(shared))
        say(f"warning: every class has the subfolders {names}; if these are the classes, name a folder above them")
    warn_of_names(classes)
    return classes


def subfolders(found: Survey, classes: Sequence[str]) -> dict[str, set[str]]:
    """The names of the folders with pictures that lie directly in each class."""
    below = {name: set[str]() for name in classes}
    for name in found.pictures:
        above, *between = name.split("/", 2)
        if len(between) == 2:
            below[above].add(between[0])
    return below


def warn_of_names(classes: Sequence[str]) -> None:
    """Tell of names that may be one class, written in two ways: in another case, or with accents of their own."""
    alike = defaultdict(list)
    for name in classes:
        alike[unicodedata.normalize("NFKC", name).casefold().strip()].append(name)
    for names in alike.values():
        if len(names) > 1:
            say(f"warning: {' and '.join(map(repr, names))} look alike and are taken for different classes")


def say(line: str) -> None:
    """Tell what was found, on one line of stderr whatever the names in it."""
    errors.say(f"folder: {line}")
