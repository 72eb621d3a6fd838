"""Examples of what a training asks: small pictures in rows, with words below them, kept as one JSON file."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from exemplar.errors import UserError, reason
from exemplar.io import foreign
from exemplar.io.atomic import replacing

FILE = "examples.json"  # in the folder of a training


@dataclass(frozen=True)
class Examples:
    """A row for each example of a task, with a picture and a word, which may be empty, in every column.

    `name` is the task's, and pictures are PNG files in base64.
    """

    name: str
    columns: list[str]
    pictures: list[list[str]]
    words: list[list[str]]

    @classmethod
    def of(
        cls, name: str, columns: Mapping[str, UInt8[np.ndarray, "n 3 h w"]], words: Mapping[str, Sequence[str]]
    ) -> "Examples":
        """Those of columns under their headings, from top to bottom; some have words."""
        pictures = [[png(picture) for picture in column] for column in columns.values()]
        below = [words.get(heading, [""] * len(column)) for heading, column in columns.items()]
        rows = [[list(row) for row in zip(*part, strict=True)] for part in (pictures, below)]
        return cls(name, list(columns), *rows)

    def contradiction(self) -> str | None:
        """What in the examples cannot be: rows of unequal length, or a picture that is none."""
        if len(self.pictures) != len(self.words) or {*map(len, [*self.pictures, *self.words])} - {len(self.columns)}:
            return "its rows are not as long as its columns are many"
        try:
            for picture in (picture for row in self.pictures for picture in row):
                Image.open(io.BytesIO(base64.b64decode(picture, validate=True)), formats=["PNG"]).verify()
        except Exception:  # a broken picture can fail in any way
            return "a picture in it is no whole PNG"
        return None


def png(picture: UInt8[np.ndarray, "3 h w"]) -> str:
    """A picture as the file that a page carries inside."""
    file = io.BytesIO()
    Image.fromarray(picture.transpose(1, 2, 0)).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def save_examples(examples: Sequence[Examples], folder: Path) -> None:
    """Write examples.json into the folder of a training; where there are none, the file says so."""
    with replacing(folder / FILE) as temporary:
        temporary.write_text(json.dumps([asdict(each) for each in examples], indent=1) + "\n", encoding="utf-8")


def load_examples(folder: Path) -> list[Examples]:
    """Read what `save_examples` wrote. Raises UserError for anything else."""
    path = folder / FILE
    try:
        examples = TypeAdapter(list[Examples]).validate_json(foreign.read(path), strict=True, extra="forbid")
        for each in examples:
            if contradiction := each.contradiction():
                raise ValueError(contradiction)
    except (OSError, ValueError) as error:
        found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else reason(error)
        raise UserError(f"cannot read {path} ({found}); remove {folder} and run the train stage again") from None
    return examples
