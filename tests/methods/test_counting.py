"""Counting: six views of two squares, and a score that nothing but counting reaches."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from exemplar.methods import counting
from exemplar.methods.counting import Counting, Options, Views
from exemplar.models.architecture import parse
from exemplar.surrogate.patches import mean_colour
from exemplar.training.contract import Settings

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 12, 12), np.uint8).repeat(6, 2).repeat(6, 3)
SETTINGS = Settings(epochs=1, batch_size=16, learning_rate=0.1, momentum=0.9, weight_decay=0.0)


def stream(number: int = 0) -> torch.Generator:
    """A stream of chance."""
    return torch.Generator().manual_seed(number)


def drawn(images: np.ndarray = IMAGES, *, count: int = 64, grey_share: float = 0.5) -> Views:
    """Rows."""
    return counting.draw(images, Options(units=16, grey_share=grey_share), count=count, generator=stream(1))


def built(data: Views) -> Counting:
    """A network that has not learnt."""
    options = Options(units=16, grey_share=0.5)
    model = counting.build(parse("8c5-8c5-16f"), data, options, mean=mean_colour(data), generator=stream(2))
    model.train().begin(data)
    return model


def test_a_picture_is_halved_in_four_ways() -> None:
    """Each keeps a flat picture as it is; one is the mean of four pixels, and they differ."""
    ways = counting.shrinking(torch.device("cpu"))
    torch.testing.assert_close(ways.sum(2), torch.ones(4, 32))
    picture = torch.rand(3, 64, 64, generator=stream())
    halved = ways[:, None] @ picture @ ways[:, None].mT
    torch.testing.assert_close(halved[0], functional.avg_pool2d(picture, 2))
    assert all((halved[one] - halved[other]).abs().max() > 0.01 for one in range(4) for other in range(one))


def test_tiles_put_together_are_the_picture() -> None:
    """Row by row."""
    picture = torch.rand(2, 3, 64, 64, generator=stream())
    first, second, third, fourth = counting.tiles(picture).unbind(1)
    again = torch.cat([torch.cat([first, second], 3), torch.cat([third, fourth], 3)], 2)
    assert torch.equal(again, picture)


def test_the_fifth_view_is_the_tiles_shrunk_and_the_sixth_another_image() -> None:
    """Where the way is the mean of four pixels, the quarters of the whole are the halved tiles."""
    data = drawn(grey_share=0.0)
    rows = torch.nonzero(data.columns["way"] == 0).flatten()
    views, _ = data.render(rows)
    quarters = torch.stack([view for half in views[:, 4].chunk(2, 2) for view in half.chunk(2, 3)], 1)
    halved = functional.avg_pool2d(views[:, :4].flatten(0, 1), 2).unflatten(0, (len(rows), 4))
    torch.testing.assert_close(quarters, halved)
    assert (data.image[:, 0] != data.image[:, 1]).all()
    assert (views[:, 4] - views[:, 5]).abs().amax((1, 2, 3)).min() > 0.05


def test_a_grey_row_is_grey_in_all_views() -> None:
    """About the share of rows that is asked for."""
    data = drawn(count=400, grey_share=0.67)
    views, columns = data.render(torch.arange(40))
    spread = (views.amax(2) - views.amin(2)).flatten(2).amax(2)
    assert torch.equal(spread < 1e-6, columns["grey"][:, None].expand(40, 6))
    assert data.columns["grey"].float().mean() == pytest.approx(0.67, abs=0.08)


def test_one_image_is_its_own_partner() -> None:
    """There is no other."""
    data = drawn(IMAGES[:1])
    assert not data.image.any()
    assert (data.centre[:, 0] != data.centre[:, 1]).any()


def test_numbers_that_are_all_0_score_0() -> None:
    """The distances are equal then, and a tie is lost: a network that collapsed is worse than chance."""
    data = drawn()
    model = built(data)
    model.scale.zero_()
    outcome = model(data.render(torch.arange(32)))
    assert float(outcome.score) == 0
    assert float(outcome.loss.detach()) == 1
    assert float(outcome.sums["live_units"]) == 0


def test_the_mean_distance_to_a_partner_is_the_margin_at_the_start() -> None:
    """Over the rows that it is scaled on."""
    data = drawn()
    model = built(data)
    with torch.no_grad():
        own, other = counting.distances(model.counts(data.render(torch.arange(64))[0]))
    assert float(other.mean()) == pytest.approx(1, abs=1e-4)
    assert float(own.mean()) > 0


def test_sums_of_tiles_are_compared() -> None:
    """Numbers that add up have no distance; one that is 3 off has 9."""
    counts = torch.tensor([[[1.0], [2.0], [0.0], [4.0], [7.0], [10.0]]])
    own, other = counting.distances(counts)
    assert own.tolist() == [0]
    assert other.tolist() == [9]


def test_white_noise_cannot_be_counted() -> None:
    """After some steps the score on other images is still that of chance: how patches were made tells nothing."""
    noise = np.random.default_rng(3).integers(0, 256, (40, 3, 64, 64), np.uint8)
    data, unseen = (
        drawn(noise, count=320),
        counting.draw(noise, Options(units=16, grey_share=0.5), count=200, generator=stream(9)),
    )
    model = built(data)
    optimizer = model.optimizer(SETTINGS)
    for rows in torch.split(torch.arange(320), 16):
        optimizer.zero_grad()
        model(data.render(rows)).loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        score = float(model(unseen.render(torch.arange(200))).score) / 200
    assert score == pytest.approx(0.5, abs=0.12)
