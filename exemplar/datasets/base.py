"""What a labeled dataset is, on disk and in memory."""

import json
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from exemplar.errors import UserError
from exemplar.io import foreign
from exemplar.io.arrays import forget_pages, load_array, map_array

PATCH_PIXELS = 32  # the side of a seed, of its samples, and of what networks are trained on
UNFINISHED = (
    "unfinished"  # the folder beside the files of a set where a process that may be killed keeps what it has done
)
IMAGES_AT_ONCE = 256  # of which digests are taken


@dataclass(frozen=True)
class Labeled:
    """Images with labels and the folds of a protocol.

    A fold is a row of `train` and the same row of `test`, both indices into `images`; a test set that all folds share
    is the same row again and again. Images are RGB.
    """

    images: UInt8[np.ndarray, "n 3 h w"]
    labels: Int64[np.ndarray, " n"]
    train: Int64[np.ndarray, "folds m"]
    test: Int64[np.ndarray, "folds t"]
    classes: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write one file per array into `folder`."""
        np.save(folder / "images.npy", self.images)
        save_protocol(folder, labels=self.labels, train=self.train, test=self.test, classes=self.classes)

    @classmethod
    def load(cls, folder: Path) -> "Labeled":
        """Open a saved set; the images stay on disk and are mapped into memory.

        Raises UserError for a file that is broken or does not match the others: none may be used by mistake.
        """
        images, remedy = load_images(folder), remedy_for(folder)
        train = load_array(folder / "train.npy", kind=np.int64, shape=(None, None), remedy=remedy)
        found = cls(
            images=images,
            labels=load_array(folder / "labels.npy", kind=np.int64, shape=(len(images),), remedy=remedy),
            train=train,
            test=load_array(folder / "test.npy", kind=np.int64, shape=(len(train), None), remedy=remedy),
            classes=load_classes(folder / "classes.json", remedy=remedy),
        )
        if reason := found.contradiction():
            raise UserError(f"cannot use the labeled set {folder} ({reason}); {remedy}")
        return found

    def contradiction(self) -> str | None:
        """What cannot be: labels without a class, images that are not there or stand twice in a fold."""
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            return f"labels.npy holds {self.labels.min()} to {self.labels.max()}; there are {len(self.classes)} classes"
        for number, (train, test) in enumerate(zip(self.train, self.test, strict=True), start=1):
            used = np.concatenate([train, test])
            if used.min() < 0 or used.max() >= len(self.images):
                wrong = used.min() if used.min() < 0 else used.max()
                return f"fold {number} names image {wrong} of {len(self.images)}"
            if len(np.unique(used)) < len(used):
                return f"fold {number} names an image twice, perhaps to train on and to test on"
            if len(np.unique(self.labels[train])) < 2:
                return f"fold {number} trains on one class only, {self.classes[self.labels[train[0]]]!r}"
        return None

    def count_copies(self) -> int:
        """In the fold with the most, how many test images have the very pixels of one of its training images."""
        marks = np.zeros(len(self.images), np.int64)
        used = np.union1d(self.train, self.test)
        for part in np.split(used, range(IMAGES_AT_ONCE, len(used), IMAGES_AT_ONCE)):
            digests = [md5(image.tobytes(), usedforsecurity=False).digest() for image in copy_images(self.images, part)]
            marks[part] = [int.from_bytes(digest[:8], "little", signed=True) for digest in digests]
        folds = zip(self.train, self.test, strict=True)
        return max(int(np.isin(marks[test], marks[train]).sum()) for train, test in folds)


def remedy_for(folder: Path) -> str:
    """What to do about a broken set."""
    return f"remove {folder} and run the download stage again"


def save_protocol(
    folder: Path,
    *,
    labels: Int64[np.ndarray, " n"],
    train: Int64[np.ndarray, "folds m"],
    test: Int64[np.ndarray, "folds t"],
    classes: tuple[str, ...],
) -> None:
    """Write all of a labeled set but its images, which large sets stream into `folder` by themselves.

    A name of a folder that is not UTF-8 comes as surrogates, which no file of text can hold.
    """
    names = [name.encode("utf-8", "replace").decode("utf-8") for name in classes]
    np.save(folder / "labels.npy", labels)
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)
    (folder / "classes.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")


def load_images(folder: Path) -> UInt8[np.ndarray, "n 3 h w"]:
    """Map the images of a set into memory."""
    return map_array(folder / "images.npy", kind=np.uint8, shape=(None, 3, None, None), remedy=remedy_for(folder))


def load_classes(path: Path, *, remedy: str) -> tuple[str, ...]:
    """Read the names of the classes."""
    try:
        names = json.loads(foreign.read(path))
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("it is no list of names")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path} ({error}); {remedy}") from None
    return tuple(names)


def copy_images(
    images: UInt8[np.ndarray, "n 3 h w"], which: slice | Int64[np.ndarray, " b"]
) -> UInt8[np.ndarray, "b 3 h w"]:
    """Copy some images; of a mapped file, the pages that were read no longer count as memory of this process.

    Without that STL-10's 100,000 images are 2.8 GB of it in the end (docs/log.md).
    """
    chunk = np.array(images[which])
    forget_pages(images)
    return chunk
