"""Pictures with holes: what counts, and what an answer is worth."""

import pytest
import torch

from exemplar.training.decoder import Decoder, mean_of_neighbours, mean_square

PICTURES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def square_hole(low: int, high: int) -> torch.Tensor:
    """One square of hidden pixels."""
    hidden = torch.zeros(1, 1, 32, 32)
    hidden[:, :, low:high, low:high] = 1
    return hidden


def test_a_decoder_that_has_not_learnt_says_the_mean() -> None:
    """Its first picture is hardly off 0 anywhere, of three colours and 32 x 32 pixels, and no two are the same."""
    decoder = Decoder(8, generator=torch.Generator().manual_seed(0))
    pictures = decoder(torch.rand(4, 8))
    assert pictures.shape == (4, 3, 32, 32)
    assert pictures.dtype == torch.float32
    assert pictures.square().mean() < 0.02
    assert (pictures[0] != pictures[1]).any()


def test_only_hidden_pixels_count() -> None:
    """An answer that is right in the hole has no error, whatever it says elsewhere; one that is 2 off there has 4."""
    hidden = square_hole(3, 9).expand(5, 1, 32, 32)
    answer = torch.where(hidden > 0, PICTURES, 7.0)
    assert torch.equal(mean_square(answer, PICTURES, hidden), torch.zeros(5))
    torch.testing.assert_close(mean_square(answer + 2, PICTURES, hidden), torch.full((5,), 4.0))


def test_neighbours_know_what_is_flat() -> None:
    """Holes in a picture of one colour are filled with it, however wide, also at the border."""
    flat = torch.full((1, 3, 32, 32), 0.3)
    for low, high in ((0, 20), (4, 5), (12, 32)):
        torch.testing.assert_close(mean_of_neighbours(flat, square_hole(low, high)), flat)


def test_a_single_hidden_pixel_is_the_mean_of_eight() -> None:
    """And visible pixels stay as they are."""
    filled = mean_of_neighbours(PICTURES[:1], square_hole(5, 6))
    around = PICTURES[0, :, 4:7, 4:7].flatten(1)
    expected = (around.sum(1) - around[:, 4]) / 8
    torch.testing.assert_close(filled[0, :, 5, 5], expected)
    assert (filled != PICTURES[:1]).sum() == pytest.approx(3)
