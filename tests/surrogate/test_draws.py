"""Rows of samples, made when they are needed: whose they are, how they are spread, and what decides them."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from exemplar.errors import UserError
from exemplar.surrogate.draws import ATTEMPTS, Draws
from exemplar.surrogate.ranges import NamedRanges, Ranges
from exemplar.surrogate.transformation import COLUMNS, inside

# The release's widest seeds, as near to the corner of an image of 96 x 96 as they come.
CORNER, SIDE, SIZE = (41.0, 41.0), 62.5, (96, 96)
NUMBERS = torch.arange(20_000)


def rows(draws: Draws, seeds: Tensor, samples: Tensor, *, size: tuple[int, int] = SIZE, side: float = SIDE) -> Tensor:
    """Of seeds that all lie in the corner."""
    centre = torch.tensor(CORNER).expand(len(seeds), 2)
    return draws.rows(seeds, samples, centre=centre, side=torch.full((len(seeds),), side), size=size)


def drawn_again(count: int, ranges: Ranges) -> Tensor:
    """The table as it is drawn by a generator that knows no counters: a square that leaves its image is drawn again."""
    generator = torch.Generator().manual_seed(0)

    def uniform(bounds: tuple[float, float], *, logarithm: bool = False) -> Tensor:
        low, high = torch.tensor(bounds).log() if logarithm else torch.tensor(bounds)
        numbers = low + (high - low) * torch.rand(count, generator=generator)
        return numbers.exp() if logarithm else numbers

    def squares() -> Tensor:
        bounds = (ranges.shift_fraction, ranges.shift_fraction, ranges.scale_factor, ranges.angle_degrees)
        return torch.stack([uniform(each) for each in bounds], 1)

    found, where = squares(), {"centre": torch.tensor(CORNER), "side": torch.tensor(SIDE), "size": SIZE}
    while not (fits := inside(found, **where)).all():
        found = torch.where(fits[:, None], found, squares())
    normal = torch.randn(count, 3, generator=generator) * torch.tensor(ranges.pca_log2_spread)
    columns = [*found.T, *normal.exp2().T, torch.full((count,), ranges.stretch_fraction)]
    for name in ("saturation", "value"):
        columns += [uniform(getattr(ranges, f"{name}_{what}"), logarithm=True) for what in ("power", "factor")]
        columns.append(uniform(getattr(ranges, f"{name}_offset")))
    return torch.stack([*columns, uniform(ranges.hue_offset_turns)], 1)


def test_every_column_is_spread_as_if_squares_had_been_drawn_until_they_fit(release: Ranges) -> None:
    """Of 20,000 samples, where every second square leaves its image."""
    found, expected = rows(Draws(1, 20_000, release), NUMBERS * 0, NUMBERS), drawn_again(20_000, release)
    for name, ours, theirs in zip(COLUMNS, found.T, expected.T, strict=True):
        assert ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 1e-3, name


def test_squares_lie_in_their_images(release: Ranges) -> None:
    """Also in an image that is only a quarter wider than its seed, where 68 % of the first ones do not."""
    for size, side in ((SIZE, SIDE), ((82, 82), 65.6)):
        found = rows(Draws(1, 20_000, release), NUMBERS * 0, NUMBERS, size=size, side=side)
        where = {"centre": torch.tensor(CORNER).expand(20_000, 2), "side": torch.full((20_000,), side)}
        assert inside(found, **where, size=size).all()
    assert 0.68**ATTEMPTS < 5e-6


def test_an_image_hardly_wider_than_its_seed_takes_the_first_squares(release: Ranges) -> None:
    """Even those that leave it, so that shifts keep their spread."""
    found = rows(Draws(1, 20_000, release), NUMBERS * 0, NUMBERS, size=(82, 82), side=66.0)
    first = rows(Draws(1, 20_000, release), NUMBERS * 0, NUMBERS, size=(500, 500), side=1.0)
    assert torch.equal(found, first)


def test_a_row_follows_from_key_seed_and_sample_alone(release: Ranges) -> None:
    """Not from how many samples there are, or from what else is drawn with it; each has a row of its own."""
    seeds, samples = (each.flatten() for each in torch.meshgrid(torch.arange(50), torch.arange(40), indexing="ij"))
    draws = Draws(1, 40, release)
    whole = rows(draws, seeds, samples)
    assert len(whole.unique(dim=0)) == 2000
    parts = [rows(replace(draws, samples=9), *each) for each in zip(seeds.split(7), samples.split(7), strict=True)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, rows(replace(draws, key=2), seeds, samples))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_gpu_draws_the_same_rows(release: Ranges) -> None:
    """To the last bit, but for one in a million that float64 rounds to another side."""
    place = {"centre": torch.tensor(CORNER).expand(20_000, 2), "side": torch.full((20_000,), SIDE)}
    there = {name: values.cuda() for name, values in place.items()}
    found = Draws(1, 20_000, release).rows(NUMBERS.cuda(), NUMBERS.cuda(), **there, size=SIZE)
    here = rows(Draws(1, 20_000, release), NUMBERS, NUMBERS)
    torch.testing.assert_close(found.cpu(), here, rtol=3e-7, atol=0)
    assert (found.cpu() != here).double().mean() < 1e-6


def test_draws_that_are_saved_are_loaded_as_they_were(release: Ranges, tmp_path: Path) -> None:
    """In a file that a person can read; ranges of a family, as params.yaml has them, lose its name."""
    draws, path = Draws(2**62 + 1, 7, release), tmp_path / "draws.json"
    for ranges in (release, NamedRanges(**asdict(release), family="paper")):
        replace(draws, ranges=ranges).save(path)
        assert Draws.load(path, remedy="") == draws
    assert "shift_fraction" in path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"samples": 7', '"samples": 0', "Input should be greater than or equal to 1"),
        ('"samples": 7', '"samples": "7"', "Input should be a valid integer"),
        ('"key"', '"kez"', "Field required"),
        ("[-0.25, 0.25]", "[0.25, -0.25]", "is upside down"),
        ("{", "", "Invalid JSON"),
    ],
)
def test_a_file_of_draws_that_was_changed_says_so(release: Ranges, tmp_path: Path, old: str, new: str, said: str):
    """In one line, with what to do."""
    path = tmp_path / "draws.json"
    Draws(5, 7, release).save(path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=f"cannot read .*draws.json .*{said}.*; run it again") as error:
        Draws.load(path, remedy="run it again")
    assert "\n" not in str(error.value)
