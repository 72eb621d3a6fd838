"""What a labeled dataset is, on disk and in memory."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from exemplar.errors import UserError


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
        """Open a saved set; the images stay on disk and are mapped into memory."""
        return cls(
            images=load_images(folder),
            labels=np.load(folder / "labels.npy"),
            train=np.load(folder / "train.npy"),
            test=np.load(folder / "test.npy"),
            classes=tuple(json.loads((folder / "classes.json").read_text(encoding="utf-8"))),
        )


def save_protocol(
    folder: Path,
    *,
    labels: Int64[np.ndarray, " n"],
    train: Int64[np.ndarray, "folds m"],
    test: Int64[np.ndarray, "folds t"],
    classes: tuple[str, ...],
) -> None:
    """Write all of a labeled set but its images, which large sets stream into `folder` by themselves."""
    np.save(folder / "labels.npy", labels)
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)
    (folder / "classes.json").write_text(json.dumps(classes, ensure_ascii=False), encoding="utf-8")


def load_images(folder: Path) -> UInt8[np.ndarray, "n 3 h w"]:
    """Map the images of a set into memory."""
    path = folder / "images.npy"
    try:
        images: UInt8[np.ndarray, "n 3 h w"] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {path} ({error}); remove {folder} and run the download stage again") from None
    return images
