"""The file that keeps a training's examples."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exemplar.errors import UserError
from exemplar.io.examples import FILE, Examples, load_examples, save_examples

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
EXAMPLES = Examples.of(
    "rotation", {"shown": PICTURES, "the answer": PICTURES[::-1]}, {"the answer": ["right", "wrong"]}
)


def test_examples_come_back_from_their_file(tmp_path: Path) -> None:
    """Rows from top to bottom, a picture and a word in each column, the pictures untouched."""
    save_examples([EXAMPLES], tmp_path)
    (loaded,) = load_examples(tmp_path)
    assert loaded == EXAMPLES
    assert loaded.words == [["", "right"], ["", "wrong"]]
    picture = Image.open(io.BytesIO(base64.b64decode(loaded.pictures[1][0])))
    np.testing.assert_array_equal(np.asarray(picture), PICTURES[1].transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-3], "Invalid JSON"),
        (lambda text: text.replace('"the answer"', '"a", "b"', 1), "its rows are not as long as its columns are many"),
        (lambda text: text.replace("iVBOR", "iVB<R", 1), "a picture in it is no whole PNG"),
        (lambda text: text.replace("pictures", "images"), "Field required"),
    ],
)
def test_anything_else_is_told(tmp_path: Path, change, said: str) -> None:
    """In one line, with what to do."""
    save_examples([EXAMPLES], tmp_path)
    file = tmp_path / FILE
    file.write_text(change(file.read_text()))
    with pytest.raises(UserError, match=said) as told:
        load_examples(tmp_path)
    assert "run the train stage again" in str(told.value)
