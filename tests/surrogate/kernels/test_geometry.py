"""Squares are turned, scaled, shifted and cut out of images in one pass."""

import math

import pytest
import torch
from torch import Tensor

from exemplar.surrogate.kernels import geometry

CPU = torch.device("cpu")
CORNERS = torch.tensor([[-0.5, -0.5], [0.5, 0.5]])


def place(points: Tensor, *, centre=(50.0, 40.0), side=32.0, shift=(0.0, 0.0), scale=1.0, angle=0.0) -> Tensor:
    return geometry.square_positions(
        centre=torch.tensor([centre]),
        side=torch.tensor([side]),
        shift_fraction=torch.tensor([shift]),
        scale_factor=torch.tensor([scale]),
        angle_degrees=torch.tensor([angle]),
        points=points,
    )[0]


def test_an_untouched_square_lies_around_its_centre():
    """Its corners are half a side away, x first."""
    assert place(CORNERS).tolist() == [[34, 24], [66, 56]]


def test_a_scale_above_1_zooms_in():
    """The square is smaller, so what is in it becomes larger."""
    assert place(CORNERS, scale=2.0).tolist() == [[42, 32], [58, 48]]


def test_the_shift_is_a_fraction_of_the_scaled_square():
    """A quarter of a square of 32 / 2 pixels is 4 pixels, along x and y."""
    assert (place(CORNERS, scale=2.0, shift=(0.25, -0.5)) - place(CORNERS, scale=2.0)).tolist() == [[4, -8], [4, -8]]


def test_turning_goes_around_the_squares_own_middle():
    """A quarter turn takes the right side to the bottom; the shift is along the image's own axes."""
    right = torch.tensor([[0.5, 0.0]])
    turned = place(right, angle=90.0, shift=(0.25, 0.0))
    torch.testing.assert_close(turned, torch.tensor([[58.0, 56.0]]))


def test_turning_by_an_angle_agrees_with_its_sine_and_cosine():
    """Every point moves on its circle."""
    x, y, angle = 0.3, -0.2, math.radians(17)
    expected = [x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)]
    found = place(torch.tensor([[x, y]]), centre=(0.0, 0.0), side=1.0, angle=17.0)
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_turning_there_and_back_changes_nothing():
    """An angle and its opposite are inverse to each other."""
    there = place(CORNERS, centre=(0.0, 0.0), side=1.0, angle=33.0)
    back = place(there, centre=(0.0, 0.0), side=1.0, angle=-33.0)
    torch.testing.assert_close(back, CORNERS)


def test_pixel_points_are_the_middles_of_pixels_row_by_row():
    """Two by two pixels have their middles a quarter away from the centre."""
    expected = [[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]]
    assert geometry.pixel_points(2, device=CPU).tolist() == expected


@pytest.mark.parametrize("corner", [(0, 0), (3, 2), (9, 4)])
def test_cutting_at_the_middles_of_pixels_copies_them(corner: tuple[int, int]):
    """Nothing is resampled where nothing moved, up to the image's border, also in images that are no squares."""
    image = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(0))
    x, y = corner
    where = place(geometry.pixel_points(8, device=CPU), centre=(x + 4.0, y + 4.0), side=8.0)[None]
    torch.testing.assert_close(geometry.cut(image, where, 8), image[:, :, y : y + 8, x : x + 8], atol=1e-5, rtol=0)


def test_between_two_pixels_lies_their_mean():
    """Sampling is bilinear."""
    image = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert geometry.cut(image, torch.tensor([[[1.0, 1.0]]]), 1).item() == pytest.approx(0.5)
    assert geometry.cut(image, torch.tensor([[[0.75, 1.0]]]), 1).item() == pytest.approx(0.25)


def test_beyond_its_border_an_image_is_mirrored():
    """What lies left of the border is what lies right of it, at the same distance."""
    image = torch.rand(1, 2, 9, 7, generator=torch.Generator().manual_seed(0))
    inside = place(geometry.pixel_points(4, device=CPU), centre=(2.0, 5.0), side=4.0)[None]
    for mirrored in (
        inside * torch.tensor([-1.0, 1.0]),
        torch.tensor([0.0, 18.0]) + inside * torch.tensor([1.0, -1.0]),
    ):
        torch.testing.assert_close(geometry.cut(image, mirrored, 4), geometry.cut(image, inside, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [1, 3, 2 * geometry.CHUNK + 5])
def test_every_image_of_a_batch_is_cut_for_itself(count: int):
    """A batch gives what its images give alone, whole chunks of it or a part."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 20, 20, generator=generator)
    where = torch.rand(count, 16, 2, generator=generator) * 20
    alone = [geometry.cut(images[i : i + 1], where[i : i + 1], 4) for i in range(count)]
    torch.testing.assert_close(geometry.cut(images, where, 4), torch.cat(alone))


def test_bytes_give_the_samples_of_their_fractions():
    """An image from 0 to 255 is the image from 0 to 1."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 20, 20), generator=generator, dtype=torch.uint8)
    where = torch.rand(2, 16, 2, generator=generator) * 30 - 5
    expected = geometry.cut(images.float() / 255, where, 4)
    torch.testing.assert_close(geometry.cut(images, where, 4), expected, atol=1e-6, rtol=0)


def test_positions_may_lie_in_memory_point_by_point():
    """What `square_positions` returns is stored by coordinate; samples do not depend on it."""
    image = torch.rand(1, 3, 30, 40, generator=torch.Generator().manual_seed(0))
    where = place(geometry.pixel_points(8, device=CPU), centre=(20.0, 15.0), side=12.0, angle=10.0)[None]
    assert torch.equal(geometry.cut(image, where, 8), geometry.cut(image, where.contiguous(), 8))
