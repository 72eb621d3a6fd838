"""Denoising and context encoder: how much is hidden, and what the score is measured against."""

from types import ModuleType

import numpy as np
import pytest
import torch

from exemplar.errors import UserError
from exemplar.methods import context_encoder, denoising
from exemplar.models.architecture import parse
from exemplar.params.options import load_options
from exemplar.surrogate.patches import Patches, mean_colour
from exemplar.training.decoder import Restoration, mean_of_neighbours, mean_square
from exemplar.training.task import skill

TASKS = pytest.mark.parametrize("task", [denoising, context_encoder], ids=["denoising", "context_encoder"])
RANDOM = np.random.default_rng(0)
# Blocks of 12 pixels in an image's own colour and a little off it.
COLOURS = RANDOM.integers(0, 156, (12, 3, 1, 1), np.uint8) + RANDOM.integers(0, 100, (12, 3, 4, 4), np.uint8)
IMAGES = COLOURS.repeat(12, 2).repeat(12, 3)


def stream(number: int = 0) -> torch.Generator:
    """A stream of chance."""
    return torch.Generator().manual_seed(number)


def built(task: ModuleType, count: int = 96) -> tuple[Patches, Restoration]:
    """Rows and the network that has not learnt."""
    options = task.Options(hidden_share=0.25)
    data = task.draw(IMAGES, options, count=count, generator=stream(1))
    model: Restoration = task.build(parse("4c5-4c5-8f"), data, options, mean=mean_colour(data), generator=stream(2))
    return data, model


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
def test_every_row_of_denoising_lacks_the_same_number_of_pixels(share: float) -> None:
    """The share that is asked for, all colours together; holes differ."""
    holes = denoising.draw_holes(share, stream())
    assert holes.shape == (1024, 1, 32, 32)
    assert set(holes.sum((1, 2, 3)).tolist()) == {round(share * 1024)}
    assert len(holes.flatten(1).unique(dim=0)) == 1024


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_squares_hide_the_share_to_a_hundredth(share: float) -> None:
    """Whatever their number."""
    holes = context_encoder.draw_holes(share, stream())
    assert holes.shape == (1024, 1, 32, 32)
    assert (holes.mean((1, 2, 3)) - share).abs().max() <= context_encoder.TOLERANCE
    assert len(holes.flatten(1).unique(dim=0)) > 500


def test_squares_reach_every_border() -> None:
    """And hide the middle more often, which more of them reach."""
    hidden = context_encoder.draw_holes(0.25, stream()).mean((0, 1))
    borders = [hidden[0], hidden[-1], hidden[:, 0], hidden[:, -1]]
    assert all(0 < border.mean() < 0.2 < hidden[12:20, 12:20].mean() for border in borders)


@TASKS
def test_the_network_does_not_see_what_is_hidden(task: ModuleType) -> None:
    """Its answer is the same whatever stands in the holes."""
    data, model = built(task)
    torch.nn.init.normal_(model.decoder.weight, generator=stream())
    signal, hidden = data.render(torch.arange(8))[0][:, 0], model.bank[:8]
    answer = model.restored(signal, hidden)
    model.eval()
    assert answer.std() > 0
    assert torch.equal(model.restored(signal, hidden), model.restored(signal + hidden, hidden))


def test_the_mean_colour_has_skill_0_in_denoising() -> None:
    """The first answer is about that: its loss is about 1 and its skill 0 over the rows that it was measured on."""
    data, model = built(denoising)
    outcome = model(data.render(torch.arange(96)))
    assert float(outcome.loss.detach()) == pytest.approx(1, abs=1e-2)
    assert float(outcome.score) / 96 == pytest.approx(0, abs=1e-2)
    signal, hidden = model.trunk.seen(data.render(torch.arange(96))[0][:, 0]), model.bank[data.columns["hole"]]
    exact = skill(mean_square(denoising.mean_colour(signal, hidden), signal, hidden), model.constant)
    assert float(exact) == pytest.approx(0, abs=1e-3)


def test_the_visible_mean_has_skill_0_in_the_context_encoder() -> None:
    """The mean colour of all patches, which is the first answer, is worse; skill is measured against the better one."""
    data, model = built(context_encoder)
    signal, hidden = model.trunk.seen(data.render(torch.arange(96))[0][:, 0]), model.bank[data.columns["hole"]]
    answer = context_encoder.visible_mean(signal, hidden)
    torch.testing.assert_close(answer[3, :, 0, 0], signal[3, :, hidden[3, 0] == 0].mean(1))
    assert float(skill(mean_square(answer, signal, hidden), model.constant)) == pytest.approx(0, abs=1e-3)
    assert float(model(data.render(torch.arange(96))).score) < -1


@TASKS
def test_a_skill_lies_between_the_constant_answer_and_the_clean_picture(task: ModuleType) -> None:
    """The clean picture has 1; the record tells what averaging neighbours reaches, measured on the same pixels."""
    data, model = built(task)
    batch = data.render(torch.arange(96))
    signal, hidden = model.trunk.seen(batch[0][:, 0]), model.bank[batch[1]["hole"]]
    assert float(skill(mean_square(signal, signal, hidden), model.constant)) == 96
    reached = skill(mean_square(mean_of_neighbours(signal, hidden), signal, hidden), model.constant)
    assert float(model(batch).sums["neighbours_skill"]) == pytest.approx(float(reached), abs=1e-2)
    assert 0 < float(reached) < 96


@TASKS
def test_something_hidden_and_something_visible_is_asked_for(task: ModuleType) -> None:
    """A share that hides nothing or everything is told with its key."""
    name = task.__name__.rpartition(".")[2]
    for share in (0, 1):
        with pytest.raises(UserError, match=rf"tasks\.{name}\.hidden_share {share}: expected a number of at"):
            load_options(name, {"hidden_share": share})
