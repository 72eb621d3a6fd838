"""Maps of energy against a reference written with SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from exemplar.surrogate.energy import energy_maps, overlaps

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 160, 200), np.uint8)


def test_the_map_is_the_smoothed_squared_high_pass_response_on_every_4th_pixel():
    """At scale 1: the grey image less its Gaussian of 2 cells, squared, smoothed by another of 2 cells; no border."""
    grey = IMAGES[:, :, ::4, ::4].sum(1) / 255
    for image, measured in zip(grey, energy_maps(torch.from_numpy(IMAGES), 1.0).numpy(), strict=True):
        high = image - gaussian_filter(image, 2.0, mode="mirror", truncate=4)
        expected = gaussian_filter(high**2, 2.0, mode="mirror", truncate=4)
        inner = np.zeros_like(expected)
        inner[5:-5, 5:-5] = expected[5:-5, 5:-5]
        np.testing.assert_allclose(measured, inner, atol=1e-5)


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
