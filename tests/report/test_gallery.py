"""What is shown of a pipeline's results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exemplar.io.examples import Examples, save_examples
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Pixels
from exemplar.models.saved import save_encoder
from exemplar.report import gallery
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.contract import Epoch
from exemplar.training.record import save_curve


@pytest.fixture
def collected(surrogate_set: SurrogateSet, tmp_path: Path) -> gallery.Gallery:
    """What three folders with three seeds, two encoders and two trainings give."""
    for folder in ("surrogate", "encoders", "training"):
        (tmp_path / folder).mkdir()
    surrogate_set.save(tmp_path / "surrogate")
    generator = torch.Generator().manual_seed(0)
    drawn = draw_encoder(parse("6c5-8f"), mean=torch.zeros(3, 32, 32), generator=generator)
    save_encoder(drawn, tmp_path / "encoders" / "exemplar.safetensors")
    save_encoder(Pixels(), tmp_path / "encoders" / "pixels.safetensors")
    told = {"held_out_skill": 0.2}  # a task may tell more than every training does
    save_curve([Epoch(1, 2.0, 0.5, 0.4, 0.3, 0.1, 60, 900.0, told)], tmp_path / "training" / "exemplar")
    save_curve([], tmp_path / "training" / "pixels")
    save_examples([Examples("exemplar", ["shown"], [], [])], tmp_path / "training" / "exemplar")
    save_examples([], tmp_path / "training" / "pixels")
    surrogate, encoders, training = (tmp_path / name for name in ("surrogate", "encoders", "training"))
    return gallery.collect(surrogate=surrogate, encoders=encoders, training=training, methods=["exemplar", "pixels"])


def test_seeds_are_shown_as_they_lie_in_their_images(collected: gallery.Gallery, surrogate_set: SurrogateSet) -> None:
    """A seed of 32 pixels is its part of the window, pixel by pixel."""
    assert collected.seeds.shape == (3, 3, 32, 32)
    x, y = (surrogate_set.centre[0] - 16).int().tolist()
    np.testing.assert_array_equal(collected.seeds[0], surrogate_set.windows[0, :, y : y + 32, x : x + 32])


def test_samples_stand_beside_their_seed(collected: gallery.Gallery, surrogate_set: SurrogateSet) -> None:
    """A row per class: the seed, then its first samples as the network sees them."""
    assert collected.samples.shape == (3, 12, 3, 32, 32)
    np.testing.assert_array_equal(collected.samples[:, 0], collected.seeds)
    first, _ = surrogate_set.render(torch.arange(20, 31))
    np.testing.assert_allclose(collected.samples[1, 1:], first.numpy() * 255, atol=0.51)


def test_filters_and_curves_have_the_names_of_their_files(collected: gallery.Gallery) -> None:
    """An encoder without filters shows none; a training without epochs has an empty curve, and no examples."""
    assert {name: filters.shape for name, filters in collected.filters.items()} == {"exemplar": (6, 3, 5, 5)}
    assert collected.curves["exemplar"]["loss"].tolist() == [2.0]
    assert collected.curves["pixels"].empty
    assert {name: len(examples) for name, examples in collected.examples.items()} == {"exemplar": 1, "pixels": 0}


def test_a_large_set_is_shown_in_part(surrogate_set: SurrogateSet, tmp_path: Path) -> None:
    """144 seeds spread over all, eight of them with samples."""
    many = torch.arange(300) % 3
    parts = {name: getattr(surrogate_set, name)[many] for name in ("window_index", "label", "centre", "side")}
    replace(surrogate_set, **parts).save(tmp_path)
    (tmp_path / "training").mkdir()
    found = gallery.collect(surrogate=tmp_path, encoders=tmp_path, training=tmp_path / "training", methods=[])
    assert found.seeds.shape == (144, 3, 32, 32)
    assert found.samples.shape[:2] == (8, 12)


def test_a_unit_is_shown_with_what_excites_it_most(surrogate_set: SurrogateSet) -> None:
    """The strongest patch first; a unit without a response is passed over, and an encoder of such units shows none."""
    encoder = draw_encoder(parse("6c5-8f"), mean=torch.zeros(3, 32, 32), generator=torch.Generator().manual_seed(0))
    last = encoder.convolutions()[-1]
    with torch.no_grad():
        last.bias[3] = -100
    patches = torch.rand(20, 3, 32, 32)
    with torch.inference_mode():
        responses = encoder(patches).flatten(1)
    shown = gallery.exciting(encoder, patches)
    alive = [unit for unit in range(8) if responses[:, unit].max() > 0]
    assert 3 not in alive
    assert shown.shape == (len(alive), 8, 3, 32, 32)
    for row, unit in zip(shown, alive, strict=True):
        order = responses[:, unit].argsort(descending=True)[:8]
        order = order[responses[order, unit] > 0]  # the others are equal, and any of them may come next
        np.testing.assert_array_equal(row[: len(order)], gallery.to_bytes(patches[order]))
    with torch.no_grad():
        last.bias.fill_(-100)
    assert len(gallery.exciting(encoder, patches)) == 0
