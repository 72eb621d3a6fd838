"""Images as a network takes them."""

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from exemplar.models.images import images_at_once, resize


@pytest.mark.parametrize("side", [32, 43, 64, 150])
def test_resizing_is_torchvisions(side: int) -> None:
    """Bicubic, with a low-pass where images shrink; the last bit too. What lies beyond 0 and 1 is clipped."""
    images = torch.rand(2, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    expected = functional.resize(images, [side, side], InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(resize(images, side), expected.clamp(0, 1))


def test_images_of_the_right_size_stay_as_they_are() -> None:
    """Not even a copy is made."""
    images = torch.rand(2, 3, 32, 32)
    assert resize(images, 32) is images


def test_at_least_one_image_goes_at_once() -> None:
    """However large it is; on a GPU 256 times as many."""
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert images_at_once(10_000 * 10_000, cpu) == 1
    assert images_at_once(96 * 96, cpu) == 8
    assert images_at_once(96 * 96, cuda) == 2048
