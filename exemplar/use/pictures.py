"""Files of pictures -> their features, a batch at a time, while the next batch is being read."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from exemplar.datasets.images import cropped, decode
from exemplar.datasets.tree import survey
from exemplar.errors import UserError, say
from exemplar.io.sources import is_there
from exemplar.models.images import images_at_once
from exemplar.runtime.device import enough_memory
from exemplar.runtime.progress import track
from exemplar.use.loaded import SMALLER, LoadedEncoder

READ_AT_ONCE = 32


def find(places: Sequence[Path]) -> list[Path]:
    """The files among `places`, and every picture in and below the folders, sorted within each.

    Raises UserError for a place that is not there, and for a folder without pictures.
    """
    found = list[Path]()
    for place in places:
        if not is_there(place):
            raise UserError(f"there is no file or folder {place}; expected pictures, or folders with pictures")
        if place.is_dir():
            surveyed = survey(place)
            found += [place / name for name in surveyed.pictures]
            if surveyed.others:
                say(f"{place}: {len(surveyed.pictures):,} pictures{surveyed.said()}")
        else:
            found.append(place)
    return found


@dataclass
class Reader:
    """Reads pictures as squares of `side` pixels; broken ones stop it, or are told and skipped."""

    side: int
    skip_broken: bool
    skipped: list[str] = field(default_factory=list)

    def read(self, paths: Sequence[Path]) -> tuple[list[Path], UInt8[np.ndarray, "n 3 s s"]]:
        """The pictures that are whole, each its largest middle square, and their paths."""
        whole, squares = list[Path](), [np.empty((0, 3, self.side, self.side), np.uint8)]
        for path in paths:
            try:
                squares.append(cropped(decode(path, name=str(path)), side_pixels=self.side)[None])
            except UserError as error:
                if not self.skip_broken:
                    raise UserError(f"{error}; take it out, or pass --skip-broken") from None
                say(f"skipped: {error}")
                self.skipped.append(str(path))
                continue
            whole.append(path)
        return whole, np.concatenate(squares)


def iter_features(
    encoder: LoadedEncoder, paths: Sequence[Path], reader: Reader
) -> Iterator[tuple[list[Path], Float[np.ndarray, "n d"]]]:
    """The paths and features of each batch of pictures; two batches are in memory at most."""
    with enough_memory(f"a picture of {reader.side} x {reader.side} pixels; {SMALLER}"):
        at_once = max(READ_AT_ONCE, images_at_once(encoder.encoder, reader.side, reader.side, encoder.device))
    batches = [paths[first : first + at_once] for first in range(0, len(paths), at_once)]
    with (
        ThreadPoolExecutor(max_workers=1) as ahead,
        track(total=len(paths), unit="pictures", label="features") as progress,
    ):
        reading = ahead.submit(reader.read, batches[0])
        for batch, following in zip(batches, chain(batches[1:], [None]), strict=True):
            whole, squares = reading.result()
            if following:
                reading = ahead.submit(reader.read, following)
            if whole:
                yield whole, np.concatenate(list(encoder.feature_blocks(squares)))
            progress.advance(len(batch))
