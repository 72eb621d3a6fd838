"""Small pictures laid out as one."""

import numpy as np
import pytest

from exemplar.report import figures, sheets

random = np.random.default_rng(0)


def test_a_mosaic_holds_every_tile_untouched() -> None:
    """Each tile stands at its row and column, and all else is white."""
    tiles = random.integers(0, 255, (7, 3, 4, 6), dtype=np.uint8)
    sheet = sheets.mosaic(tiles, columns=3, gap_pixels=2)
    assert sheet.shape == (3 * 4 + 2 * 2, 3 * 6 + 2 * 2, 3)
    for place, tile in enumerate(tiles):
        top, left = place // 3 * 6, place % 3 * 8
        assert (sheet[top : top + 4, left : left + 6] == tile.transpose(1, 2, 0)).all()
    assert (sheet != 255).any(axis=2).sum() <= tiles[:, 0].size


def test_filters_are_shown_whatever_their_size() -> None:
    """Zero is grey, the largest weight is black or white, and a filter ten times as strong looks the same."""
    filters = random.normal(size=(5, 3, 5, 5))
    seen = sheets.visible(filters)
    assert (sheets.visible(10 * filters) == seen).all()
    assert np.isin(seen.reshape(5, -1), (0, 255)).any(axis=1).all()
    assert (sheets.visible(np.zeros((1, 3, 5, 5))) == 128).all()


@pytest.mark.parametrize(("count", "shown", "chosen"), [(3, 5, [0, 1, 2]), (101, 3, [0, 50, 100]), (1, 4, [0])])
def test_a_sheet_shows_all_or_evenly_chosen_ones(count: int, shown: int, chosen: list[int]) -> None:
    """The first and the last are always among those chosen."""
    assert sheets.evenly(count, shown=shown) == chosen


@pytest.mark.parametrize("count", [1, 5, 300])
def test_seed_sheets_of_any_length_are_small(count: int) -> None:
    """One seed or thousands, the picture is drawn, and even pure noise stays within 150 kB."""
    seeds = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    assert 500 < len(figures.png(sheets.seed_sheet(seeds))) < 150_000


@pytest.mark.parametrize(("classes", "count"), [(1, 2), (50, 50)])
def test_sample_sheets_of_any_size_are_small(classes: int, count: int) -> None:
    """One class with a single sample, or more than a sheet can hold."""
    samples = random.integers(0, 256, (classes, count, 3, 32, 32), dtype=np.uint8)
    assert 500 < len(figures.png(sheets.sample_sheet(samples))) < 150_000


def test_filter_sheets_show_each_encoder() -> None:
    """Encoders stand under their names, three in a row, also when their layers differ in number and size."""
    filters = {"exemplar": random.normal(size=(64, 3, 5, 5)), "strided": random.normal(size=(92, 3, 7, 7))}
    figure = sheets.filter_sheet(filters)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["exemplar", "strided"]
    many = sheets.filter_sheet({f"task {number}": filters["exemplar"] for number in range(11)})
    assert len(many.axes) == 11
    assert many.get_size_inches()[0] == figure.get_size_inches()[0]
