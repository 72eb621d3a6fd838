"""Relative location: on which of eight sides of a patch does another one lie."""

import numpy as np
import pytest
import torch
from small import score_of_others

from exemplar.errors import UserError
from exemplar.methods.relative_location import STEPS, Options, RelativeLocation, build, draw
from exemplar.models.architecture import parse

OPTIONS = Options(grey_share=0.66)
GENERATOR, GREY = torch.Generator(), torch.full((3, 32, 32), 0.5)


def noise(height: int, width: int, *, images: int = 4, seed: int = 0) -> np.ndarray:
    """Images without anything to recognise."""
    return np.random.default_rng(seed).integers(0, 256, (images, 3, height, width), np.uint8)


def untrained() -> RelativeLocation:
    """A small network."""
    rows = draw(noise(48, 48), OPTIONS, count=8, generator=GENERATOR.manual_seed(0))
    return build(parse("4c5-4c5-8f"), rows, OPTIONS, mean=GREY, generator=GENERATOR.manual_seed(1))


@pytest.mark.parametrize("size", [(32, 32), (48, 96), (400, 300)])
def test_both_patches_lie_whole_in_the_image_and_apart(size: tuple[int, int]):
    """The second on the side that the label names, with a gap between them of a quarter of a patch or so."""
    rows = draw(noise(*size), OPTIONS, count=500, generator=GENERATOR.manual_seed(0))
    side = rows.side[..., None]
    assert (rows.centre - side / 2).min() >= -1e-3
    assert (rows.centre + side / 2 <= torch.tensor((size[1], size[0])) + 1e-3).all()
    step = (rows.centre[:, 1] - rows.centre[:, 0]) / side[:, 0]
    assert torch.equal(step.round().clamp(-1, 1), torch.tensor(STEPS)[rows.columns["step"]].float())
    assert step.abs().amax(1).min() >= 1.25 - 1 / 14
    assert step.abs().max() <= 1.5 + 1 / 14


def test_all_steps_are_as_likely():
    """A constant answer is right once in eight times."""
    steps = draw(noise(48, 48), OPTIONS, count=8000, generator=GENERATOR.manual_seed(0)).columns["step"]
    assert steps.bincount(minlength=8).sub(1000).abs().max() < 130
    assert RelativeLocation.chance == 1 / 8


def test_a_pair_the_other_way_round_has_the_opposite_answer():
    """Left of one is right of the other; both orders are asked for each pair."""
    network, steps = untrained(), torch.arange(8)
    there, back = network.targets({"step": steps}).T
    assert torch.equal(torch.tensor(STEPS)[there], -torch.tensor(STEPS)[back])
    vectors = torch.rand(8, 2, 8, generator=GENERATOR.manual_seed(0))
    network.eval()
    one, other = (network.answered(each, {"step": steps}) for each in (vectors, vectors.flip(1)))
    assert torch.allclose(one, other.flip(1))


def test_a_network_that_has_learnt_nothing_answers_at_chance():
    """Its loss is about that of a guess."""
    rows = draw(noise(48, 48), OPTIONS, count=64, generator=GENERATOR.manual_seed(0))
    assert untrained()(rows.render(torch.arange(64))).loss.item() == pytest.approx(np.log(8), rel=0.02)


def test_noise_has_no_sides():
    """After 60 steps on noise, pairs of other noise are told apart no better than by chance."""
    rows, unseen = (
        draw(noise(48, 48, images=480, seed=seed), OPTIONS, count=480, generator=GENERATOR.manual_seed(0))
        for seed in (0, 1)
    )
    network = untrained()
    assert score_of_others(network, rows, unseen) == pytest.approx(1 / 8, abs=0.05)


def test_images_that_are_too_small_are_refused():
    """The line has their size, what is expected, and what to do."""
    with pytest.raises(UserError, match=r"relative_location: the unlabeled images have 48 x 20 pixels, .* 32 or more"):
        draw(noise(20, 48), OPTIONS, count=1, generator=GENERATOR.manual_seed(0))
