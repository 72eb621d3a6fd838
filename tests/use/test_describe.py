"""What a model string costs, told without building the network."""

from pathlib import Path

import pytest
import torch

from exemplar.errors import UserError
from exemplar.models import network
from exemplar.models.architecture import parse
from exemplar.models.network import Encoder
from exemplar.use import describe


@pytest.mark.parametrize("model", ["64c5-64c5-128f", "4c5-4c3-4c3-8f-6f", "3c7s2-5f", "3c3-2f"])
@pytest.mark.parametrize("side", [40, 57, 96])
def test_shapes_and_parameters_are_those_of_the_network(model: str, side: int):
    """PyTorch builds it and runs it on an image of that size."""
    encoder = Encoder(parse(model), mean=torch.zeros(3, 32, 32))
    maps = encoder.raw_maps(torch.zeros(1, 3, side, side))
    told = describe.sizes(model, side=side)
    assert [list(layer.output) for layer in told] == [list(one.shape[1:]) for one in maps]
    counts = [sum(values.numel() for values in layer.parameters()) for layer in encoder.layers]
    assert [layer.parameters for layer in told] == counts


def test_multiply_adds_are_products_of_weights_and_places():
    """A filter is multiplied at every place of its map; biases are only added."""
    first, second = describe.sizes("2c5-3f", side=32)
    assert first.multiply_adds == 2 * 3 * 5**2 * 32**2
    assert second.multiply_adds == second.parameters - 3
    assert describe.as_json("2c5-3f", side=32, cells=1)["features"] == 5


def test_it_counts_as_the_network_does():
    """Constants that are copied, so that no torch is imported."""
    assert (describe.PATCH_PIXELS, describe.POOLED_LAYERS) == (network.PATCH_PIXELS, network.POOLED_LAYERS)


def test_images_that_are_too_small_are_refused():
    """In one line."""
    with pytest.raises(UserError, match="no place is left in 128f for images of 20 pixels"):
        describe.sizes("64c5-64c5-128f", side=20)
    with pytest.raises(UserError, match="no place is left in"):
        describe.sizes("4c5s4-4c5s4-4c5s4-8f", side=96)


def test_a_saved_encoder_is_described_by_its_file(encoder_file: Path, tmp_path: Path):
    """Another file is told in one line."""
    assert describe.model_of(encoder_file) == "4c5-4c5-8f"
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"no encoder")
    with pytest.raises(UserError, match=r"other.safetensors is no encoder"):
        describe.model_of(other)
