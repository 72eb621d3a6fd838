"""The network: its size, its maps, and its file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from exemplar.errors import UserError
from exemplar.models import network
from exemplar.models.architecture import parse
from exemplar.models.head import Dropout, Head
from exemplar.models.initial import draw_encoder, draw_head
from exemplar.models.network import Encoder, Pixels
from exemplar.models.saved import load_encoder, save_encoder

MEAN = torch.full((3, 32, 32), 0.5)


def drawn(model: str, *, random_seed: int = 0, mean: torch.Tensor = MEAN) -> Encoder:
    """An untrained encoder that is ready to look at images."""
    return draw_encoder(parse(model), mean=mean, generator=torch.Generator().manual_seed(random_seed)).eval()


def sides(model: str, side: int) -> list[int]:
    """How wide the map of each layer is for images of this side."""
    return [maps.shape[3] for maps in drawn(model).feature_maps(torch.rand(1, 3, side, side))]


@pytest.mark.parametrize(
    ("model", "classes", "encoder", "head"),
    [
        ("64c5-64c5-128f", 8_000, 631_744, 1_032_000),
        ("64c5-128c5-256c5-512f", 16_000, 9_418_368, 8_208_000),
        ("92c5-256c5-512c5-1024f", 16_000, 37_428_816, 16_400_000),
    ],
)
def test_the_papers_networks_have_the_papers_number_of_weights(
    model: str, classes: int, encoder: int, head: int
) -> None:
    """1.66, 17.6 and 53.8 million with the head of their surrogate classes (paper, section 4)."""
    with torch.device("meta"):
        body = Encoder(parse(model), mean=MEAN)
        top = Head(body.width, classes)
    counts = [sum(weights.numel() for weights in module.parameters()) for module in (body, top)]
    assert counts == [encoder, head]


def test_maps_are_as_large_as_the_releases() -> None:
    """Convolutions keep the side, the two poolings halve it and round up, the fully connected layer slides."""
    for side, expected in {
        96: [96, 48, 24, 17],
        32: [32, 16, 8, 1],
        64: [64, 32, 16, 9],
        150: [150, 75, 37, 30],
    }.items():
        assert sides("2c5-2c5-2c5-3f", side) == expected
    assert sides("2c5-2c5-3f", 96) == [96, 48, 17]


def test_a_stride_makes_maps_smaller() -> None:
    """The blur network's first layer moves by two pixels; its fully connected layer covers 4 x 4 places."""
    assert sides("2c7s2-2c5-2c5-3f", 32) == [16, 8, 4, 1]
    assert sides("2c7s2-2c5-2c5-3f", 96) == [48, 24, 12, 9]
    assert drawn("64c7s2-128c5-256c5-512f").layers[-1].weight.shape == (512, 256, 4, 4)
    assert sides("2c5s3-2c5-2c5-3f", 32) == [11, 5, 2, 1]


def test_strides_that_leave_nothing_to_pool_are_told() -> None:
    """A map of one place cannot be halved: the model is refused before any work."""
    with pytest.raises(UserError, match=r"model '2c5s4-2c5s4-3f': .*smaller strides"):
        drawn("2c5s4-2c5s4-3f")


def test_the_fully_connected_layer_slides() -> None:
    """Each place of its map is the layer applied to one window of 8 x 8 places of the map before."""
    encoder = drawn("2c5-2c5-4c5-6f")
    *_, before, last = encoder.feature_maps(torch.rand(2, 3, 64, 48))
    windows = functional.unfold(before, 8)
    layer = encoder.layers[-1]
    expected = functional.relu(layer.weight.flatten(1) @ windows + layer.bias[:, None])
    torch.testing.assert_close(last.flatten(2), expected)


def test_what_the_network_sees_moves_with_the_image() -> None:
    """Four pixels are two poolings' stride: the last map moves by one place, away from the border."""
    encoder, image = drawn("4c5-4c5-8f"), torch.rand(1, 3, 100, 100)
    here, there = encoder(image[:, :, :96, :96]), encoder(image[:, :, 4:, 4:])
    torch.testing.assert_close(here[:, :, 3:-3, 3:-3], there[:, :, 2:-4, 2:-4])


def test_the_mean_is_subtracted_pixel_by_pixel_or_on_average() -> None:
    """From patches of 32 x 32 each pixel loses its own mean, from larger images all lose the mean of that."""
    mean = torch.rand(3, 32, 32)
    encoder, centred = drawn("2c5-2c5-3f", mean=mean), drawn("2c5-2c5-3f", mean=torch.zeros_like(mean))
    patches, images = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 40, 40)
    assert torch.equal(encoder(patches), centred(patches - mean))
    assert torch.equal(encoder(images), centred(images - mean.mean((1, 2))[:, None, None]))


def test_weights_are_drawn_as_in_the_release() -> None:
    """Gaussian, the first layers wider; biases 0.1, those of the head 0 (paper.md, section 4)."""
    generator = torch.Generator().manual_seed(0)
    encoder = draw_encoder(parse("64c5-128c5-256c5-64f"), mean=MEAN, generator=generator)
    head = draw_head(64, 5_000, generator=generator)
    for module, std in zip([*encoder.layers, head.scores], [0.05, 0.02, 0.01, 0.01, 0.005], strict=True):
        assert module.weight.detach().std().item() == pytest.approx(std, rel=0.02)
        assert module.weight.detach().mean().item() == pytest.approx(0, abs=std / 10)
    assert {value for layer in encoder.layers for value in layer.bias.tolist()} == {torch.tensor(0.1).item()}
    assert not head.scores.bias.any()


def test_the_same_random_seed_gives_the_same_weights() -> None:
    """And another one gives others."""
    one, again, other = (drawn("4c5-8f", random_seed=number).layers[0].weight for number in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_head_drops_features_only_in_training() -> None:
    """Half of them, at random; a trained network answers the same every time."""
    head, features = draw_head(100, 3, generator=torch.Generator().manual_seed(0)), torch.rand(2, 100, 4, 4)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))
    assert head(features).shape == (2, 3, 4, 4)


def test_images_too_small_for_the_cells_are_told() -> None:
    """The last layer's map of a 36 x 36 image has 2 x 2 places: no four cells a side."""
    with pytest.raises(UserError, match=r"2 x 2 places for 4 cells a side: the images are too small; raise `side`"):
        drawn("2c5-2c5-3f").extract_features(torch.rand(1, 3, 36, 36), (2, 4))


def test_a_saved_encoder_is_loaded_as_it_was(tmp_path: Path) -> None:
    """The model string, the mean and every weight; it answers the same."""
    encoder, images = drawn("4c5-4c3s2-8f", mean=torch.rand(3, 32, 32)), torch.rand(2, 3, 40, 40)
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    assert isinstance(loaded, Encoder)
    assert loaded.model == "4c5-4c3s2-8f"
    assert not loaded.training
    assert torch.equal(loaded.mean, encoder.mean)
    assert torch.equal(loaded(images), encoder(images))


def test_raw_pixels_are_an_encoder_without_weights(tmp_path: Path) -> None:
    """Its features are the image, once for all grids of cells, and it goes through a file as every encoder does."""
    save_encoder(Pixels(), tmp_path / "pixels.safetensors")
    loaded, images = load_encoder(tmp_path / "pixels.safetensors"), torch.rand(2, 3, 5, 5)
    assert isinstance(loaded, Pixels)
    described = loaded.extract_features(images, (1, 2))
    assert [torch.equal(block, images.flatten(1)) for block in described] == [True]


def test_a_file_that_is_no_encoder_says_what_to_do(tmp_path: Path) -> None:
    """Missing, cut short, of another kind, of another program or of other weights: one line that names the file."""
    path, whole = tmp_path / "encoder.safetensors", tmp_path / "whole.safetensors"
    save_encoder(drawn("4c5-8f"), whole)

    def said() -> str:
        with pytest.raises(UserError, match=r"cannot read the encoder .*run the train stage again") as caught:
            load_encoder(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "encoder.safetensors" in said()
    for content in (whole.read_bytes()[:-100], whole.read_bytes()[:20], b"", b"\x89PNG\r\n\x1a\n" * 10):
        path.write_bytes(content)
        said()
    tensors = {name: value.contiguous() for name, value in drawn("4c5-8f").state_dict().items()}
    for model in (None, "64x5", "4c5-9f"):
        save_file(tensors, path, None if model is None else {"model": model})
        said()
    save_file({"other": torch.zeros(1)}, path, {"model": "4c5-8f"})
    said()


def test_pooling_in_cells_covers_the_map() -> None:
    """A map of 17 x 17 has cells of 9 and of 8 places, as in the release."""
    maps = torch.arange(17 * 17, dtype=torch.float32).view(1, 1, 17, 17)
    expected = [8 * 17 + 8, 8 * 17 + 16, 16 * 17 + 8, 16 * 17 + 16]
    assert network.max_pool_grid(maps, 2).flatten().tolist() == expected


@pytest.mark.parametrize("cells", [1, 2, 3, 4])
@pytest.mark.parametrize("side", range(4, 60))
def test_pooling_gives_a_number_for_every_cell(side: int, cells: int) -> None:
    """Whatever the map's size: all places are covered, and the windows are as good as equal."""
    maps = torch.zeros(side * side, 1, side, side)
    maps.view(side * side, side * side).fill_diagonal_(1.0)
    pooled = network.max_pool_grid(maps, cells).view(side, side, cells, cells)
    assert (pooled.sum((2, 3)) >= 1).all()
    rows = pooled.amax((1, 3)).sum(0)
    assert rows.max() - rows.min() <= (side % cells and cells - 1)


def test_pooling_of_the_papers_maps_is_the_releases() -> None:
    """Equal windows, of which the last may be smaller: byte for byte those of the release's pooling."""
    for side, cells in ((48, 2), (24, 2), (12, 4), (9, 2), (17, 2), (75, 4), (37, 4), (30, 4), (128, 4), (57, 4)):
        maps, window = torch.rand(2, 3, side, side), -(-side // cells)
        expected = torch.nn.functional.max_pool2d(maps, window, window, ceil_mode=True).flatten(1)
        assert torch.equal(network.max_pool_grid(maps, cells), expected)


@pytest.mark.parametrize("model", ["4c5-5c5-6f", "4c5s2-5c5-6f", "4c5-5c5-4c3s2-6f", "4c3-6f"])
def test_a_stride_of_the_last_map_is_the_total_stride(model: str) -> None:
    """An image that is one stride larger has one place more."""
    encoder = drawn(model)
    sides = [
        encoder.feature_maps(torch.rand(1, 3, side, side))[-1].shape[-1]
        for side in (32, 32 + encoder.total_stride, 32 + 5 * encoder.total_stride)
    ]
    assert sides == [1, 2, 6]


def test_rectifying_after_pooling_is_rectifying_before_it() -> None:
    """The training's shorter way gives the bytes of the last feature map, and its gradients."""
    encoder = drawn("8c5-8c5-8c5-16f")
    patches = torch.rand(4, 3, 32, 32)
    short, long = encoder(patches), encoder.feature_maps(patches)[-1]
    assert torch.equal(short, long)
    for one, other in zip(
        *(torch.autograd.grad(out.sum(), encoder.parameters()) for out in (short, long)), strict=True
    ):
        assert torch.equal(one, other)


def test_dropout_drops_what_pytorchs_does() -> None:
    """Bit for bit on the CPU, and the rows of a batch that several share lose what they lose in the whole."""
    signal, dropout = torch.rand(7, 5, 1, 1), Dropout()
    torch.manual_seed(3)
    whole = torch.nn.Dropout(0.5)(signal)
    torch.manual_seed(3)
    assert torch.equal(dropout(signal), whole)
    torch.manual_seed(3)
    with dropout.of_batch(slice(2, 4), 7):
        assert torch.equal(dropout(signal[2:4]), whole[2:4])
    assert torch.equal(dropout.eval()(signal), signal)
