"""Maps of energy against a reference written with SciPy."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from exemplar.surrogate.energy import centres, energy_maps, has_energy, overlaps

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 161, 203), np.uint8)


@pytest.mark.parametrize(("height", "width", "scale"), [(160, 200, 1.0), (161, 203, 1.0), (150, 198, 0.64)])
def test_the_map_is_the_smoothed_squared_high_pass_response_on_every_4th_pixel(height: int, width: int, scale: float):
    """The grey image less its Gaussian of 2 cells, squared, smoothed by another of 2 cells; no border.

    A scale changes how many cells there are, as Pillow shrinks the sum of the channels; the last cell may be cut.
    """
    images = IMAGES[:, :, :height, :width]
    cells = (-(-int(height * scale) // 4), -(-int(width * scale) // 4))
    maps = energy_maps(torch.from_numpy(images), scale)
    assert maps.shape == (3, *cells)
    for image, measured in zip(images[:, :, ::4, ::4].sum(1) / 255, maps.numpy(), strict=True):
        coarse = Image.fromarray(image.astype(np.float32)).resize(cells[::-1], Image.Resampling.BILINEAR)
        grey = np.asarray(coarse, np.float64)
        high = grey - gaussian_filter(grey, 2.0, mode="mirror", truncate=4)
        expected = gaussian_filter(high**2, 2.0, mode="mirror", truncate=4)
        inner = np.zeros_like(expected)
        inner[5:-5, 5:-5] = expected[5:-5, 5:-5]
        np.testing.assert_allclose(measured, inner, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "cells"), [((40, 40), (1, 1)), ((40, 200), (1, 1)), ((200, 37), (1, 1)), ((41, 44), (11, 11))]
)
def test_a_map_without_a_place_inside_its_border_is_one_cell(size: tuple[int, int], cells: tuple[int, int]):
    """Its energy is the mean over the image; up to 40 pixels there is none, and of 41 to 44 one cell is left."""
    height, width = size
    energy = energy_maps(torch.from_numpy(IMAGES.repeat(2, 2)[:, :, :height, :width].copy()), 1.0)
    assert energy.shape == (3, *cells)
    assert ((energy > 0).sum((1, 2)) == 1).all()


def test_a_cell_lies_on_the_pixel_that_it_was_taken_from():
    """Row 2 and column 3 of a map at scale 0.5 are 24 pixels from the left and 16 from the top; one cell is the middle.

    The centre of the pixel counts, as it lies in the scaled image.
    """
    assert centres(np.array([[2, 3], [0, 0]]), (20, 25), 0.5, (160, 200)).tolist() == [[25, 17], [1, 1]]
    assert centres(np.zeros((2, 2), np.int64), (1, 1), 0.5, (64, 70)).tolist() == [[35, 32]] * 2


def test_a_flat_image_has_no_energy():
    """Whatever its colour, and whatever else is in the batch; a square one grey level brighter is some."""
    images = np.stack([np.full((3, 96, 96), level, np.uint8) for level in (0, 77, 255, 77)])
    images[3, :, 40:60, 40:60] += 1
    assert has_energy(energy_maps(torch.from_numpy(images), 1.0)).tolist() == [False, False, False, True]


def test_the_overlap_of_two_squares_is_that_of_their_areas():
    """A seed of 32 pixels on a cell's own square is all of it, and shifted by half its side a third."""
    centre = np.array([[64.5, 64.5]])
    iou = overlaps(centre, 32.0, shape=(40, 50), scale=1.0, size=(160, 200))[0]
    assert iou.shape == (40, 50)
    assert iou[16, 16] == pytest.approx(1)
    assert iou[16, 20] == iou[20, 16] == pytest.approx(1 / 3)
    assert iou[20, 20] == pytest.approx(0.25 / 1.75)
    assert iou[16, 24] == iou[0, 0] == 0


def test_a_smaller_square_in_a_larger_one_overlaps_by_the_ratio_of_their_areas():
    """32 pixels in 50: at scale 0.64 the cell at 16 / 0.64 pixels."""
    iou = overlaps(np.array([[64.5 / 0.64, 64.5 / 0.64]]), 32.0, shape=(26, 32), scale=0.64, size=(160, 200))[0]
    assert iou[16, 16] == pytest.approx(0.64**2)
