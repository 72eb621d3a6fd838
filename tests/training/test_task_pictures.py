"""What tasks show, as pictures."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from exemplar.training.pictures import in_columns, mosaic


def test_a_mosaic_has_its_tiles_row_by_row() -> None:
    """Four tiles are two rows of two, and between them is white."""
    tiles = torch.arange(4.0).div(8)[None, :, None, None, None].expand(1, 4, 3, 5, 5)
    whole = mosaic(tiles, gap=1)
    assert whole.shape == (1, 3, 11, 11)
    corners = [whole[0, 0, row, column].item() for row in (0, 10) for column in (0, 10)]
    assert corners == [0, 1 / 8, 2 / 8, 3 / 8]
    assert (whole[..., 5, :] == 1).all()
    assert (whole[..., 5] == 1).all()


@pytest.mark.parametrize("value", [-0.5, 0.25, 1.5])
def test_columns_have_one_size_and_colours_that_there_are(value: float) -> None:
    """Small pictures are enlarged without smoothing, and what is no colour is black or white."""
    (made,) = in_columns("task", {"small": torch.full((2, 3, 4, 4), value), "large": torch.zeros(2, 3, 8, 8)})
    sizes = set()
    for row in made.pictures:
        pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in row]
        sizes |= {picture.shape for picture in pictures}
        assert (pictures[0] == round(255 * min(max(value, 0), 1))).all()
    assert sizes == {(8, 8, 3)}
    assert made.words == [["", ""], ["", ""]]
