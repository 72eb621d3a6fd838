"""Split-brain: what each half sees, and that both of them are the encoder in the end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import PICTURES
from torch import Tensor

from exemplar.datasets.streams import torch_stream
from exemplar.errors import UserError
from exemplar.methods import split_brain
from exemplar.models.architecture import parse, to_string
from exemplar.models.network import Encoder
from exemplar.runtime.device import Compute
from exemplar.surrogate.patches import Patches, mean_colour
from exemplar.training.contract import Settings
from exemplar.training.loop import fit

MODEL = "8c5-12c3-16f-4f"
OPTIONS = split_brain.Options(bin_width=10, light_bin_width=2)
SETTINGS = Settings(epochs=1, batch_size=16, learning_rate=0.1, momentum=0.9, weight_decay=0.0005)


def drawn(count: int, images: np.ndarray = PICTURES) -> Patches:
    """Rows of the task."""
    return split_brain.draw(images, OPTIONS, count=count, generator=torch_stream(0, "rows"))


def untrained(data: Patches, model: str = MODEL) -> split_brain.SplitBrain:
    """A small network for them."""
    built = split_brain.build(parse(model), data, OPTIONS, mean=mean_colour(data), generator=torch_stream(0, "weights"))
    return built.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def trained() -> split_brain.SplitBrain:
    """One after eight steps."""
    data = replace(drawn(128), held_out=drawn(16))
    model = untrained(data)
    compute = Compute(torch.device("cpu"), torch.float32)
    for _ in fit(model, data, SETTINGS, compute=compute, random_seed=0, label="test"):
        pass
    return model.eval()


def halves(encoder: Encoder, samples: Tensor) -> tuple[Tensor, Tensor]:
    """The maps of the first and of the second half of the filters of each layer, one after the other."""
    with torch.inference_mode():
        pairs = [maps.chunk(2, dim=1) for maps in encoder.feature_maps(samples)]
    return torch.cat([one.flatten(1) for one, _ in pairs], 1), torch.cat([other.flatten(1) for _, other in pairs], 1)


def test_the_merged_encoder_is_both_halves(trained: split_brain.SplitBrain) -> None:
    """In each layer the maps of the half that sees luma come first; on larger images, too."""
    encoder = trained.finish().eval()
    assert encoder.model == MODEL
    for samples in (torch.rand(4, 3, 32, 32), torch.rand(2, 3, 48, 64)):
        with torch.inference_mode():
            expected = [trunk.plain().feature_maps(samples) for trunk in trained.trunks()]
            for layer, maps in enumerate(encoder.feature_maps(samples)):
                both = torch.cat([half[layer] for half in expected], 1)
                torch.testing.assert_close(maps, both, atol=1e-5, rtol=1e-5)


def test_the_merged_encoder_gives_what_was_trained(trained: split_brain.SplitBrain) -> None:
    """Its last layer has the vectors of both trunks, behind their matrices and normalisation."""
    samples = drawn(8).render(torch.arange(8))[0][:, 0]
    with torch.inference_mode():
        vectors = torch.cat([trunk(samples) for trunk in trained.trunks()], 1)
        torch.testing.assert_close(trained.finish().eval()(samples).flatten(1), vectors, atol=1e-4, rtol=1e-4)


def test_each_half_is_blind_to_what_the_other_sees(trained: split_brain.SplitBrain) -> None:
    """Other colours of the same luma change the second half alone, another luma of the same colours the first alone."""
    encoder, samples = trained.finish().eval(), torch.rand(4, 3, 32, 32)
    tint = torch.rand(4, 1, 32, 32) * torch.tensor([1.0, -0.299 / 0.587, 0.0])[:, None, None]
    light, colour = halves(encoder, samples)
    light_of_tinted, colour_of_tinted = halves(encoder, samples + tint)
    light_of_lit, colour_of_lit = halves(encoder, samples + torch.rand(4, 1, 32, 32))
    torch.testing.assert_close(light_of_tinted, light, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(colour_of_lit, colour, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(colour_of_tinted, colour, atol=0.1)
    assert not torch.allclose(light_of_lit, light, atol=0.1)


def test_bfloat16_shows_neither_half_more_than_float32(trained: split_brain.SplitBrain) -> None:
    """Pictures that have no colour are black to the half that sees colours, to the last digits of float32."""
    grey = torch.rand(4, 1, 32, 32).expand(4, 3, 32, 32)
    centred = grey + trained.colour.encoder.mean
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert trained.colour.seen(centred).abs().max() < 1e-6


def test_the_score_is_the_mean_of_both_skills(trained: split_brain.SplitBrain) -> None:
    """Both are told; an untrained network has about none."""
    data = drawn(64)
    with torch.no_grad():
        outcome = untrained(data)(data.render(torch.arange(64)))
        learnt = trained(data.render(torch.arange(64)))
    assert [float(value) / 64 for value in outcome.sums.values()] == pytest.approx([0, 0], abs=0.05)
    assert float(learnt.score) == pytest.approx(float(sum(learnt.sums.values())) / 2)


@pytest.mark.parametrize(
    ("model", "layer"), [("7c5-8f", "'7c5' is odd"), ("8c5-9f-8f", "'9f' is odd"), ("8c5-3c3s2-8f", "such as 4c3s2")]
)
def test_an_odd_layer_is_named(model: str, layer: str) -> None:
    """It cannot be halved."""
    with pytest.raises(UserError, match=layer):
        untrained(drawn(16), model)


@pytest.mark.parametrize(
    ("model", "halved", "maps", "share"),
    [
        ("64c5-64c5-128f", "32c5-32c5-64f", (1024, 256, 1), 0.55),
        ("64c5-128c5-256c5-512f", "32c5-64c5-128c5-256f", (1024, 256, 64, 1), 0.51),
    ],
)
def test_two_halves_multiply_about_half_as_often(model: str, halved: str, maps: tuple[int, ...], share: float) -> None:
    """Forward and backward, where the first layer needs no gradient for its input; a row is not counted cheaper."""

    def products(string: str) -> int:
        layers = Encoder(parse(string), mean=torch.zeros(3, 32, 32)).convolutions()
        once = [layer.weight.numel() * places for layer, places in zip(layers, maps, strict=True)]
        return 3 * sum(once) - once[0]

    assert to_string(split_brain.halved(parse(model))) == halved
    assert 2 * products(halved) / products(model) == pytest.approx(share, abs=0.01)
    assert share < split_brain.PASSES
