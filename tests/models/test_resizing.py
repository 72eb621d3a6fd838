"""Images as a network takes them."""

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from exemplar.models.architecture import parse
from exemplar.models.images import fitting, images_at_once, resize
from exemplar.models.network import Encoder, Pixels


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
    """However large it is. On the CPU their number follows from their pixels alone."""
    assert images_at_once(Pixels(), 10_000, 10_000, torch.device("cpu")) == 1
    assert images_at_once(Pixels(), 96, 96, torch.device("cpu")) == 8
    assert fitting([torch.empty(2**40, device="meta")], free_bytes=2**40) == 1


@pytest.mark.parametrize(
    ("model", "side", "gigabytes", "expected"),
    [
        ("64c5-64c5-128f", 96, 80, 512),
        ("64c5-128c5-256c5-512f", 96, 80, 256),
        ("64c5-128c5-256c5-512f", 64, 80, 1024),
        ("92c5-256c5-512c5-1024f", 96, 80, 256),
        ("92c5-256c5-512c5-1024f", 96, 8, 128),
        ("92c5-256c5-512c5-1024f", 96, 4, 64),
        ("92c5-256c5-512c5-1024f", 96, 0, 1),
    ],
)
def test_a_gpu_takes_as_many_images_as_its_free_memory_holds_maps_of(
    model: str, side: int, gigabytes: int, expected: int
) -> None:
    """Of what is free a quarter, and at most 2 GiB, which are less than 2^31 values; always a power of two."""
    with torch.device("meta"):
        encoder = Encoder(parse(model), mean=torch.zeros(3, 32, 32))
        image = torch.zeros(1, 3, side, side)
        tensors = [image, *encoder.feature_maps(image)]
    assert fitting(tensors, free_bytes=gigabytes * 10**9) == expected
