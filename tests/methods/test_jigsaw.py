"""Jigsaw: the tiles of a picture in the order of one of a few permutations."""

import numpy as np
import pytest
import torch
from small import score_of_others

from exemplar.errors import UserError
from exemplar.methods.jigsaw import Options, build, draw, far_apart, passes, permuted
from exemplar.models.architecture import parse

OPTIONS = Options(permutations_2x2=23, permutations_3x3=100, puzzles=4, grey_share=0.5)
GENERATOR, GREY = torch.Generator(), torch.full((3, 32, 32), 0.5)


def noise(side: int, *, images: int = 4, seed: int = 0) -> np.ndarray:
    """Images without anything to recognise."""
    return np.random.default_rng(seed).integers(0, 256, (images, 3, side, side), np.uint8)


@pytest.fixture(scope="module")
def permutations() -> torch.Tensor:
    """The published number of permutations of nine tiles."""
    return far_apart(9, 100, GENERATOR.manual_seed(0))


def test_permutations_differ_in_most_places(permutations: torch.Tensor):
    """A hundred different ones of nine tiles agree in less than one place of nine, as those of the authors do."""
    distances = (permutations[:, None] != permutations).sum(2)
    assert len(set(map(tuple, permutations.tolist()))) == 100
    assert distances.sum() / (100 * 99) >= 8
    assert (permutations.sort(1).values == torch.arange(9)).all()


def test_every_tile_comes_to_every_place(permutations: torch.Tensor):
    """Each of nine in 11 or 12 of 100 permutations; none leaves all tiles where they are."""
    counts = torch.stack([(permutations == tile).sum(0) for tile in range(9)])
    assert counts.min() >= 11
    assert counts.max() <= 12
    assert (permutations != torch.arange(9)).any(1).all()


def test_all_permutations_of_four_tiles_can_be_asked_for():
    """The 23 that change something, in another order for another random seed."""
    one, other = (far_apart(4, 23, GENERATOR.manual_seed(seed)).tolist() for seed in (0, 1))
    assert one != other
    assert sorted(one) == sorted(other)
    assert len(set(map(tuple, one))) == 23


@pytest.mark.parametrize(("side", "across"), [(24, 2), (64, 2), (72, 3), (96, 3), (400, 3)])
def test_every_tile_lies_in_a_cell_of_its_own(side: int, across: int):
    """Tiles of a puzzle lie in the order of the text, whole in the image, and no two touch but by chance."""
    rows = draw(noise(side), OPTIONS, count=200, generator=GENERATOR.manual_seed(0))
    assert passes(noise(side)) == across**2
    low, high = rows.centre - rows.side[..., None] / 2, rows.centre + rows.side[..., None] / 2
    assert low.min() >= -1e-3
    assert high.max() <= side + 1e-3
    low, high = low.unflatten(1, (across, across)), high.unflatten(1, (across, across))
    assert (low[:, :, 1:, 0] >= high[:, :, :-1, 0] - 1e-3).all()
    assert (low[:, 1:, :, 1] >= high[:, :-1, :, 1] - 1e-3).all()
    assert rows.side.max() <= 62


def test_a_puzzle_is_made_of_the_tiles_of_one_row():
    """Each of its permutations shows all of them."""
    vectors, order = torch.arange(12).view(3, 4, 1), torch.tensor([[[1, 0, 2, 3], [3, 2, 1, 0]]] * 3)
    assert torch.equal(permuted(vectors.float(), order)[2, :, :, 0], 8.0 + order[2])


def test_a_network_that_has_learnt_nothing_answers_at_chance():
    """Its loss is about that of a guess."""
    rows = draw(noise(64), OPTIONS, count=64, generator=GENERATOR.manual_seed(0))
    network = build(parse("4c5-4c5-8f"), rows, OPTIONS, mean=GREY, generator=GENERATOR.manual_seed(1))
    assert network(rows.render(torch.arange(64))).loss.item() == pytest.approx(np.log(23), rel=0.02)
    assert network.chance == 1 / 23


def test_noise_is_no_puzzle():
    """After 60 steps on noise, puzzles of other noise are solved no better than by chance."""
    options = OPTIONS.model_copy(update={"permutations_2x2": 4})
    rows, unseen = (
        draw(noise(48, images=480, seed=seed), options, count=480, generator=GENERATOR.manual_seed(0))
        for seed in (0, 1)
    )
    network = build(parse("4c5-4c5-8f"), rows, options, mean=GREY, generator=GENERATOR.manual_seed(1))
    assert score_of_others(network, rows, unseen) == pytest.approx(0.25, abs=0.06)


def test_images_that_are_too_small_are_refused():
    """The line has their size, what is expected, and what to do."""
    with pytest.raises(UserError, match=r"jigsaw: the unlabeled images have 20 x 20 pixels, .* expected 24 or more"):
        draw(noise(20), OPTIONS, count=1, generator=GENERATOR.manual_seed(0))
