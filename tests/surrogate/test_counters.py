"""Draws from counters: what they are, and that nothing but key, row and column decides one."""

from collections.abc import Callable

import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from exemplar.surrogate.counters import hashed, numbers, open_uniforms, uniforms

DRAWS = (uniforms, open_uniforms)


def test_the_hash_is_splitmix64() -> None:
    """The first numbers of the published sequence that begins at 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [number % 2**64 for number in hashed(torch.tensor(1234567), torch.arange(4)).tolist()] == published


@pytest.mark.parametrize("draw", DRAWS)
def test_a_row_does_not_depend_on_the_rows_that_are_drawn_with_it(draw: Callable[..., Tensor]) -> None:
    """However they are split, in any order, and from however many columns the first are kept."""
    rows = torch.cat([torch.arange(1000), torch.tensor([2**62, -5])])
    whole = draw(7, rows, 9)
    assert torch.equal(whole, torch.cat([draw(7, part, 9) for part in torch.split(rows, 13)]))
    assert torch.equal(whole.flip(0), draw(7, rows.flip(0), 9))
    assert torch.equal(whole[:, :4], draw(7, rows, 4))


def test_uniforms_are_whole_multiples_that_every_device_has() -> None:
    """Of 2 ** -24 in float32 and, of those that are never 0, of 2 ** -53 in float64: nothing is rounded."""
    rows = torch.arange(20_000)
    for drawn, step in ((uniforms(0, rows, 5), 2**-24), (open_uniforms(0, rows, 5), 2**-53)):
        assert torch.equal(drawn.double() / step, (drawn.double() / step).round())
        assert (drawn < 1).all()
    assert (open_uniforms(0, rows, 5) > 0).all()
    assert (shares := uniforms(0, rows, 1) * 2**24).dtype == torch.float32
    assert torch.equal(shares.long(), numbers(0, rows, 1) >> 40 & 2**24 - 1)


@pytest.mark.parametrize("draw", DRAWS)
def test_uniforms_are_spread_evenly(draw: Callable[..., Tensor]) -> None:
    """In each column, and the pairs of neighbouring columns, rows and keys over the cells of a square."""
    drawn, next_key = draw(3, torch.arange(20_001), 6), draw(4, torch.arange(20_001), 6)
    for column in drawn.T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3
    for one, other in ((drawn[:, 0], drawn[:, 1]), (drawn[1:, 0], drawn[:-1, 0]), (drawn[:, 0], next_key[:, 0])):
        cells = (one * 10).long() * 10 + (other * 10).long()
        assert chisquare(cells.bincount(minlength=100)).pvalue > 1e-3
