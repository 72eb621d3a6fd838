"""Many small pictures as one: seeds, samples, filters, and the overview that tells the method in a row."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from exemplar.report.figures import STYLE, WIDTH_INCHES, blank, draw_bars

WHITE, GAP_PIXELS = 255, 3
# So many that the picture of a sheet stays below 150 kB even if every patch is noise.
SEEDS_SHOWN, SEED_COLUMNS = 60, 12
CLASSES_SHOWN, SAMPLES_SHOWN = 6, 11
OVERVIEW_ROWS = 6
ENCODERS_ABREAST = 3


def mosaic(
    tiles: UInt8[np.ndarray, "n 3 h w"], *, columns: int, gap_pixels: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay tiles out row by row on white, `gap_pixels` apart."""
    count, _, height, width = tiles.shape
    tall, wide = height + gap_pixels, width + gap_pixels
    sheet = np.full((-(-count // columns) * tall - gap_pixels, columns * wide - gap_pixels, 3), WHITE, dtype=np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * tall, place % columns * wide
        sheet[top : top + height, left : left + width] = tile.transpose(1, 2, 0)
    return sheet


def visible(filters: Float[np.ndarray, "n 3 k k"]) -> UInt8[np.ndarray, "n 3 k k"]:
    """Turn weights into colours: zero is middle grey, the largest weight of each filter black or white."""
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    share = filters / np.maximum(largest, np.finfo(filters.dtype).tiny)
    colours: UInt8[np.ndarray, "n 3 k k"] = np.round(127.5 + 127.5 * share).astype(np.uint8)
    return colours


def evenly(count: int, *, shown: int) -> list[int]:
    """Choose at most `shown` of `count` things, evenly, the first and the last among them."""
    return [int(place) for place in np.linspace(0, count - 1, num=min(count, shown))]


@matplotlib.rc_context(STYLE)
def seed_sheet(seeds: UInt8[np.ndarray, "n 3 h w"]) -> Figure:
    """Show seeds, chosen evenly where there are too many for one sheet."""
    figure = blank(height_inches=WIDTH_INCHES * -(-min(len(seeds), SEEDS_SHOWN) // SEED_COLUMNS) / SEED_COLUMNS)
    draw_seeds(figure.subplots(), seeds, shown=SEEDS_SHOWN, columns=SEED_COLUMNS)
    return figure


@matplotlib.rc_context(STYLE)
def sample_sheet(samples: UInt8[np.ndarray, "classes k 3 h w"]) -> Figure:
    """Show surrogate classes as rows: the seed first, then, after a gap, samples of its class."""
    rows, columns = min(len(samples), CLASSES_SHOWN), min(samples.shape[1], SAMPLES_SHOWN)
    figure = blank(height_inches=WIDTH_INCHES * rows / columns)
    draw_samples(figure.subplots(), samples[:rows, :columns])
    return figure


@matplotlib.rc_context(STYLE)
def filter_sheet(filters: Mapping[str, Float[np.ndarray, "n 3 k k"]]) -> Figure:
    """Show the first layer of each encoder, up to three in a row."""
    columns = min(len(filters), ENCODERS_ABREAST)
    rows = -(-len(filters) // columns)
    figure = blank(height_inches=rows * (WIDTH_INCHES / columns + 0.3))
    panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.06}).flatten()
    for axes, (name, weights) in zip(panels, filters.items(), strict=False):
        draw_filters(axes, weights)
        axes.set_title(name)
    for axes in panels[len(filters) :]:
        axes.remove()
    return figure


@matplotlib.rc_context(STYLE)
def exciting_sheet(exciting: Mapping[str, UInt8[np.ndarray, "_ _ 3 _ _"]]) -> Figure:
    """Show what excites units of each encoder: a row per unit, the strongest first."""
    figure = blank(height_inches=WIDTH_INCHES / max(2, len(exciting)) + 0.3)
    for axes, (name, patches) in zip(figure.subplots(1, max(2, len(exciting))), exciting.items(), strict=False):
        tiles = patches.reshape(-1, *patches.shape[2:])
        show(axes, mosaic(tiles, columns=patches.shape[1], gap_pixels=GAP_PIXELS))
        axes.set_title(name)
    for axes in figure.axes[len(exciting) :]:
        axes.remove()
    return figure


def draw_seeds(axes: Axes, seeds: UInt8[np.ndarray, "n 3 h w"], *, shown: int, columns: int) -> None:
    """Draw `shown` of the seeds."""
    show(axes, mosaic(seeds[evenly(len(seeds), shown=shown)], columns=columns, gap_pixels=GAP_PIXELS))


def draw_samples(axes: Axes, samples: UInt8[np.ndarray, "classes k 3 h w"]) -> None:
    """Draw a row per class, its seed set apart from its samples."""
    seeds = mosaic(samples[:, 0], columns=1, gap_pixels=GAP_PIXELS)
    others = samples[:, 1:].reshape(-1, *samples.shape[2:])
    apart = np.full((len(seeds), 3 * GAP_PIXELS, 3), WHITE, dtype=np.uint8)
    sheet = mosaic(others, columns=samples.shape[1] - 1, gap_pixels=GAP_PIXELS)
    show(axes, np.concatenate([seeds, apart, sheet], axis=1))


def draw_filters(axes: Axes, filters: Float[np.ndarray, "n 3 k k"]) -> None:
    """Draw filters as a square."""
    columns = int(np.ceil(np.sqrt(len(filters))))
    show(axes, mosaic(visible(filters), columns=columns, gap_pixels=1))


def show(axes: Axes, sheet: UInt8[np.ndarray, "height width 3"]) -> None:
    """Draw a picture pixel by pixel, without axes."""
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()


@matplotlib.rc_context({**STYLE, "font.size": 13, "axes.titlesize": 15})
def overview(
    *,
    table: pd.DataFrame,
    seeds: UInt8[np.ndarray, "n 3 h w"],
    samples: UInt8[np.ndarray, "classes k 3 h w"],
    filters: Float[np.ndarray, "m 3 side side"],
) -> Figure:
    """Tell the method in one wide picture: seeds, samples, first-layer filters, accuracy on the first dataset."""
    figure = blank(width_inches=13.8, height_inches=3.05)
    panels = figure.subplots(1, 7, width_ratios=[1, 0.1, 1.03, 0.1, 1, 0.1, 0.85])
    rows = table[table["dataset"] == table["dataset"].iloc[0]]
    draw_seeds(panels[0], seeds, shown=OVERVIEW_ROWS**2, columns=OVERVIEW_ROWS)
    draw_samples(panels[2], samples[:OVERVIEW_ROWS, :OVERVIEW_ROWS])
    draw_filters(panels[4], filters)
    draw_bars(panels[6], rows)
    titles = ("seeds", "samples of each", "first-layer filters", f"accuracy on {rows['dataset'].iloc[0]}, %")
    for axes, title in zip(panels[::2], titles, strict=True):
        axes.set_title(title)
        axes.set_anchor("N")
    for axes in panels[1::2]:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "→", ha="center", va="center", fontsize=30)
    return figure
