"""Colour kernels against Python's own colorsys and against arithmetic on single pixels."""

import colorsys
import itertools

import pytest
import torch
from skimage import color
from torch import Tensor

from exemplar.surrogate.kernels import colour

LEVELS = torch.linspace(0, 1, 9)
# Every colour of a 9 x 9 x 9 grid: greys, black, white and all edges of the cube among them.
GRID = torch.cartesian_prod(LEVELS, LEVELS, LEVELS)
PATCH = GRID.T.reshape(1, 3, 27, 27)


def pixels(patch: Tensor) -> list[tuple[float, ...]]:
    return [tuple(pixel) for pixel in patch[0].flatten(1).T.tolist()]


def turns_apart(a: float, b: float) -> float:
    return min((a - b) % 1, (b - a) % 1)


def axes(seed: int = 0) -> Tensor:
    return torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))[0]


def test_hsv_agrees_with_colorsys():
    """Hue in turns, saturation and value of every colour of the grid; grey has hue 0, black no saturation."""
    found = pixels(torch.stack(colour.to_hsv(PATCH), 1))
    for (hue, saturation, value), pixel in zip(found, GRID.tolist(), strict=True):
        expected = colorsys.rgb_to_hsv(*pixel)
        assert turns_apart(hue, expected[0]) < 1e-5, pixel
        assert (saturation, value) == pytest.approx(expected[1:], abs=1e-6), pixel


def test_a_grey_that_is_nearly_a_colour_keeps_its_hue():
    """One step of 8 bits is enough: at every brightness the hue is that of the three differences."""
    greys = torch.arange(0, 254, dtype=torch.float32)
    for steps in ([1, 0, 0], [2, 1, 0], [0, 2, 1], [1, 0, 2], [0, 1, 1]):
        colours = (greys[:, None] + torch.tensor(steps)) / 255
        hue = colour.to_hsv(colours.T.reshape(1, 3, 1, -1))[0].flatten()
        expected = colorsys.rgb_to_hsv(*map(float, steps))[0]
        assert max(turns_apart(found, expected) for found in hue.tolist()) < 1e-5


def test_rgb_agrees_with_colorsys():
    """Every hue, also beyond a full turn and below none."""
    hues, levels = [step / 12 - 1 for step in range(36)], [0.0, 0.3, 1.0]
    colours = torch.tensor(list(itertools.product(hues, levels, levels))).T.reshape(3, 1, 18, 18)
    found = pixels(colour.from_hsv(*colours))
    for pixel, (hue, saturation, value) in zip(found, colours.flatten(1).T.tolist(), strict=True):
        expected = colorsys.hsv_to_rgb(hue % 1, saturation, value)
        assert pixel == pytest.approx(expected, abs=1e-5), (hue, saturation, value)


def test_hsv_and_back_changes_nothing():
    """RGB -> HSV -> RGB is the identity on the whole cube."""
    torch.testing.assert_close(colour.from_hsv(*colour.to_hsv(PATCH)), PATCH, atol=1e-6, rtol=0)


def test_factors_of_1_change_no_colour():
    """Whatever the principal components are."""
    same = colour.scale_components(PATCH, torch.ones(1, 3), axes(), torch.tensor([0.2, 0.5, 0.7]))
    torch.testing.assert_close(same, PATCH, atol=1e-6, rtol=0)


def test_a_factor_scales_the_distance_from_the_mean_along_its_component():
    """A colour on the second axis moves along it, and the others do not stir it."""
    basis, mean = axes(), torch.tensor([0.5, 0.5, 0.5])
    patch = (mean + 0.1 * basis[:, 1]).view(1, 3, 1, 1)
    moved = colour.scale_components(patch, torch.tensor([[3.0, 2.0, 0.25]]), basis, mean)
    torch.testing.assert_close(moved.flatten(), mean + 0.2 * basis[:, 1])


def test_scaled_colours_stay_colours():
    """They are clipped to 0..1, and the patch that was given is left alone."""
    before = PATCH.clone()
    scaled = colour.scale_components(PATCH, torch.full((1, 3), 4.0), axes(), torch.full((3,), 0.5))
    assert (scaled.min(), scaled.max()) == (0, 1)
    assert torch.equal(before, PATCH)


@pytest.mark.parametrize(("amount", "expected"), [(0.0, [0.2, 0.6]), (1.0, [0.0, 1.0]), (0.5, [0.1, 0.8])])
def test_stretching_moves_a_patchs_range_towards_0_to_1(amount: float, expected: list[float]):
    """Not at all for 0, all the way for 1; the channels keep their relations."""
    patch = torch.tensor([0.2, 0.3, 0.6]).view(1, 3, 1, 1)
    stretched = colour.stretch(patch, torch.tensor([amount])).flatten()
    torch.testing.assert_close(stretched[[0, 2]], torch.tensor(expected))
    assert (stretched[1] - stretched[0]) / (stretched[2] - stretched[0]) == pytest.approx(0.25)


def test_a_flat_patch_can_be_stretched():
    """It has no range, and still every number is finite."""
    assert colour.stretch(torch.full((1, 3, 4, 4), 0.3), torch.ones(1)).isfinite().all()


def test_adjusting_raises_multiplies_adds_and_clips():
    """Channel ** power * factor + offset, one triple of numbers per patch."""
    channel = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 3).repeat(2, 1, 1)
    found = colour.adjust(channel, torch.tensor([0.5, 1.0]), torch.tensor([0.5, 2.0]), torch.tensor([0.1, -0.25]))
    torch.testing.assert_close(found, torch.tensor([[[0.1, 0.35, 0.6]], [[0.0, 0.25, 1.0]]]))


def test_patches_do_not_see_each_other():
    """A batch gives what its patches give alone."""
    generator = torch.Generator().manual_seed(0)
    patches, factors = torch.rand(2, 3, 5, 5, generator=generator), torch.rand(2, 3, generator=generator) + 0.5
    basis, mean = axes(), torch.full((3,), 0.5)
    together = colour.stretch(colour.scale_components(patches, factors, basis, mean), factors[:, 0])
    for i in range(2):
        alone = colour.scale_components(patches[i : i + 1], factors[i : i + 1], basis, mean)
        torch.testing.assert_close(together[i : i + 1], colour.stretch(alone, factors[i : i + 1, 0]))


def test_lab_agrees_with_scikit_image():
    """Every colour of the grid, dark ones included, where the curves are straight."""
    expected = color.rgb2lab(GRID.numpy())
    assert torch.allclose(torch.tensor(pixels(colour.to_lab(PATCH))), torch.from_numpy(expected).float(), atol=1e-3)


def test_lab_leads_back_to_the_same_colour() -> None:
    """For every colour that sRGB has; others become the nearest value of each channel between 0 and 1."""
    assert torch.allclose(colour.from_lab(colour.to_lab(PATCH)), PATCH, atol=1e-4)
    beyond = colour.from_lab(torch.tensor([50.0, 120.0, -120.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2))
    assert 0 <= beyond.min() <= beyond.max() <= 1
