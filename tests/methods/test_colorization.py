"""Colorization: what its network sees, what it answers, and what a score of 0 means."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exemplar.datasets.streams import torch_stream
from exemplar.errors import UserError
from exemplar.methods import colorization
from exemplar.models.architecture import parse
from exemplar.runtime.device import Compute
from exemplar.surrogate.patches import Patches, mean_colour
from exemplar.training.colours import Bins, coloured, lab_cells
from exemplar.training.contract import Settings
from exemplar.training.loop import fit

OPTIONS = colorization.Options(bin_width=10.0)
SETTINGS = Settings(epochs=2, batch_size=16, learning_rate=0.1, momentum=0.9, weight_decay=0.0005, new_samples=True)
CHROMA = np.array([1.0, -0.509, 0.0])  # a direction in which luma stays as it is


def checked(seed: int = 0, *, tells: bool) -> np.ndarray:
    """Images of squares that are bright or dark and reddish or greenish; whether the one tells the other."""
    generator = np.random.default_rng(seed)
    bright, red = generator.integers(0, 2, (2, 12, 1, 6, 6)) * 2.0 - 1
    light = 128 + 40 * bright + 60 * (bright if tells else red) * CHROMA[:, None, None]
    return np.ascontiguousarray(light.astype(np.uint8).repeat(8, 2).repeat(8, 3))


def drawn(images: np.ndarray, count: int) -> Patches:
    """Rows of the task."""
    return colorization.draw(images, OPTIONS, count=count, generator=torch_stream(0, "rows"))


def untrained(data: Patches) -> colorization.Colorization:
    """A small network for them."""
    built = colorization.build(
        parse("8c5-8c5-16f"), data, OPTIONS, mean=mean_colour(data), generator=torch_stream(0, "weights")
    )
    return built.to(memory_format=torch.channels_last)


def skill_after_training(images: np.ndarray, compute: Compute) -> float:
    """The mean skill of the second of two epochs, each of rows of its own."""
    data = replace(drawn(images, 960), held_out=drawn(images, 16))
    *_, last = fit(untrained(data), data, SETTINGS, compute=compute, random_seed=0, label="test")
    return last.score


def test_a_network_that_has_learnt_nothing_has_skill_0() -> None:
    """It answers about how often each bin is met, the best answer of whoever looks at nothing."""
    data = drawn(checked(tells=False), 256)
    with torch.no_grad():
        outcome = untrained(data)(data.render(torch.arange(256)))
    assert float(outcome.score) / 256 == pytest.approx(0, abs=0.02)


def test_it_learns_the_colours_that_luma_tells_and_no_others(compute: Compute) -> None:
    """Bright squares that are always red get their colour; where red has nothing to do with bright, none does."""
    assert skill_after_training(checked(tells=True), compute) > 0.4
    assert skill_after_training(checked(tells=False), compute) < 0.1


def test_the_encoder_takes_pictures_in_colour_and_sees_their_luma(compute: Compute) -> None:
    """The matrix is folded in: all maps are those of the training path, and other colours of equal luma change none."""
    data = replace(drawn(checked(tells=True), 64), held_out=drawn(checked(tells=True), 16))
    model = untrained(data)
    for _ in fit(model, data, SETTINGS, compute=compute, random_seed=0, label="test"):
        pass
    samples = data.render(torch.arange(16))[0][:, 0]
    model.eval()
    encoder = model.finish().eval()
    with torch.inference_mode():
        trained = torch.cat([maps.amax((2, 3)) for maps in model.trunk.layers(model.trunk.seen(samples))], 1)
        found = torch.cat(encoder.extract_features(samples, (1,)), 1)
        recoloured = samples + 0.3 * torch.tensor([1.0, -0.299 / 0.587, 0.0])[:, None, None]
        torch.testing.assert_close(found, trained, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            torch.cat(encoder.extract_features(recoloured, (1,)), 1), found, atol=1e-4, rtol=1e-4
        )
    assert encoder.model == "8c5-8c5-16f"


def test_a_cell_has_the_colour_of_its_mean() -> None:
    """Eight cells along a side, row by row; grey has no a and no b."""
    patches = torch.zeros(1, 3, 32, 32)
    patches[0, 0, :4, 4:8] = 1.0
    cells = lab_cells(patches)[0]
    assert cells[1].tolist() == pytest.approx([53.24, 80.09, 67.20], abs=0.02)  # the red of sRGB
    assert cells[[0, *range(2, 64)]].abs().max() < 0.01


def test_bins_are_the_squares_that_are_filled() -> None:
    """Each value has the class of its own square, and one from an empty square that of the nearest that is filled."""
    bins = Bins(
        torch.tensor([[0.0, 0.0], [1.0, -2.0], [4.0, 4.9], [31.0, 0.0]]), width=10.0, key="tasks.colorization.bin_width"
    )
    assert len(bins) == 2
    assert bins.log_shares.exp().tolist() == pytest.approx([0.75, 0.25])
    assert float(bins.entropy()) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    asked = torch.tensor([[[4.0, -4.0], [28.0, 3.0], [12.0, 0.0], [19.0, 0.0], [90.0, 50.0], [-50.0, -7.0]]])
    assert bins.of(asked).tolist() == [[0, 1, 0, 1, 1, 0]]


def test_images_without_colours_are_not_drawn() -> None:
    """A grey image, and one whose tint is below 5 units, ask for nothing; one coloured corner is enough."""
    images = np.full((4, 3, 40, 40), 100, np.uint8)
    images[1, 0] = 104
    images[2, 0, :8, :8] = 200
    images[3] = checked(tells=True)[0, :, :40, :40]
    assert coloured(images).tolist() == [False, False, True, True]
    assert set(drawn(images, 100).image.unique().tolist()) == {2, 3}


def test_grey_images_alone_are_told() -> None:
    """There is one class, and nothing to learn."""
    data = drawn(np.full((3, 3, 40, 40), 100, np.uint8), 20)
    with pytest.raises(UserError, match="bin_width 10: all squares of the unlabeled images have one class"):
        untrained(data)
