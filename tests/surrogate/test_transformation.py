"""The family of transformations: what a row of the table does to an image, and what the dice may write into it."""

import colorsys
import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from exemplar.surrogate import transformation
from exemplar.surrogate.counters import uniforms
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.transformation import COLUMNS, colours_of, geometry_of, inside, neutral_rows, transform

# No two ranges are alike, so that a column that is drawn from its neighbour's range is seen.
RANGES = Ranges(
    shift_fraction=(-0.25, 0.15),
    scale_factor=(0.7, 1.4),
    angle_degrees=(-20.0, 10.0),
    pca_distribution="normal",
    pca_log2_spread=(1.0, 0.7, 0.4),
    stretch_fraction=0.9,
    saturation_power=(0.25, 4.0),
    saturation_factor=(0.8, 1.3),
    saturation_offset=(-0.1, 0.05),
    value_power=(0.5, 3.0),
    value_factor=(0.6, 1.2),
    value_offset=(-0.07, 0.12),
    hue_offset_turns=(-0.1, 0.2),
)
NOTHING = Ranges(
    shift_fraction=(0.0, 0.0),
    scale_factor=(1.0, 1.0),
    angle_degrees=(0.0, 0.0),
    pca_distribution="normal",
    pca_log2_spread=(0.0, 0.0, 0.0),
    stretch_fraction=0.0,
    saturation_power=(1.0, 1.0),
    saturation_factor=(1.0, 1.0),
    saturation_offset=(0.0, 0.0),
    value_power=(1.0, 1.0),
    value_factor=(1.0, 1.0),
    value_offset=(0.0, 0.0),
    hue_offset_turns=(0.0, 0.0),
)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(count: int, ranges: Ranges, seed: int = 0) -> Tensor:
    """A table as the surrogate set draws it, where every square fits."""
    numbers = uniforms(seed, torch.arange(count), 15).double()
    return torch.cat([geometry_of(numbers[:, :4], ranges), colours_of(numbers[:, 4:], ranges)], 1).float()


def scene(count: int) -> dict[str, Tensor]:
    """Smooth images that are no squares, and the set's colour axes, which are no coordinate axes."""
    coarse = torch.rand(count, 3, 9, 12, generator=dice(1))
    images = torch.nn.functional.interpolate(coarse, size=(60, 75), mode="bicubic").clamp(0.02, 0.98)
    return {
        "images": images,
        "centre": torch.tensor([37.0, 31.0]) + 3 * torch.rand(count, 2, generator=dice(2)),
        "side": 32 + 8 * torch.rand(count, generator=dice(3)),
        "basis": torch.linalg.qr(torch.randn(3, 3, generator=dice(4)))[0],
        "mean": torch.tensor([0.4, 0.5, 0.6]),
    }


def apply(rows: Tensor, things: dict[str, Tensor]) -> Tensor:
    return transform(things["images"], rows, **{name: things[name] for name in ("centre", "side", "basis", "mean")})


def only(**columns: float) -> Tensor:
    """A neutral row but for these columns."""
    row = neutral_rows(1)
    for name, value in columns.items():
        row[0, COLUMNS.index(name)] = value
    return row


# The reference: plain Python, one pixel at a time, written from the paper and the release and not from the kernels.


def mirrored(position: float, size: int) -> float:
    position = abs(position) % (2 * size)
    return 2 * size - position if position > size else position


def bilinear(plane: list[list[float]], x: float, y: float) -> float:
    height, width = len(plane), len(plane[0])
    x = min(max(mirrored(x, width) - 0.5, 0.0), width - 1.0)
    y = min(max(mirrored(y, height) - 0.5, 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    across, down = x - left, y - top
    upper = plane[top][left] * (1 - across) + plane[top][right] * across
    lower = plane[bottom][left] * (1 - across) + plane[bottom][right] * across
    return upper * (1 - down) + lower * down


def clipped(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def cut_pixels(image: list, row: dict[str, float], centre: list[float], side: float) -> list[list[float]]:
    angle, extent = math.radians(row["angle_degrees"]), side / row["scale_factor"]
    pixels = []
    for down in range(32):
        for across in range(32):
            u, v = (across + 0.5) / 32 - 0.5, (down + 0.5) / 32 - 0.5
            x = u * math.cos(angle) - v * math.sin(angle) + row["shift_x_fraction"]
            y = u * math.sin(angle) + v * math.cos(angle) + row["shift_y_fraction"]
            pixels.append([bilinear(plane, centre[0] + extent * x, centre[1] + extent * y) for plane in image])
    return pixels


def scale_along_axes(pixel: list[float], factors: list[float], basis: list, mean: list[float]) -> list[float]:
    offset = [pixel[c] - mean[c] for c in range(3)]
    along = [factors[k] * sum(offset[c] * basis[c][k] for c in range(3)) for k in range(3)]
    return [clipped(mean[c] + sum(along[k] * basis[c][k] for k in range(3))) for c in range(3)]


def change_hsv(pixel: list[float], row: dict[str, float]) -> list[float]:
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    changed = [
        clipped(max(level, 0.0) ** row[f"{name}_power"] * row[f"{name}_factor"] + row[f"{name}_offset"])
        for name, level in (("saturation", saturation), ("value", value))
    ]
    return list(colorsys.hsv_to_rgb((hue + row["hue_offset_turns"]) % 1.0, *changed))


def reference(things: dict[str, Tensor], rows: Tensor, index: int) -> Tensor:
    row = dict(zip(COLUMNS, rows[index].double().tolist(), strict=True))
    image, centre = things["images"][index].double().tolist(), things["centre"][index].tolist()
    pixels = cut_pixels(image, row, centre, things["side"][index].item())
    factors = [row[f"pca_factor_{k}"] for k in (1, 2, 3)]
    basis, mean = things["basis"].double().tolist(), things["mean"].double().tolist()
    pixels = [scale_along_axes(pixel, factors, basis, mean) for pixel in pixels]
    low, high = min(map(min, pixels)), max(map(max, pixels))
    amount = row["stretch_fraction"]
    pixels = [[(1 - amount) * c + amount * (c - low) / (high - low) for c in pixel] for pixel in pixels]
    return torch.tensor([change_hsv(pixel, row) for pixel in pixels]).T.reshape(3, 32, 32)


@pytest.mark.parametrize("device", DEVICES)
def test_transform_agrees_with_a_reference_in_plain_python(device: str):
    """All six transformations at once, in the release's order, pixel by pixel; some squares leave their image."""
    things, rows = scene(6), draw(6, RANGES)
    rows[4, :4] = torch.tensor([0.9, -0.8, 0.6, 170.0])
    rows[5, :4] = torch.tensor([-1.9, 1.5, 0.6, -45.0])
    there = {name: tensor.to(device) for name, tensor in things.items()}
    found = apply(rows.to(device), there).cpu()
    for index in range(6):
        torch.testing.assert_close(found[index], reference(things, rows, index), atol=3e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "stretch_fraction"])
def test_each_column_alone_agrees_with_the_reference_and_changes_something(name: str):
    """No column of the table is without effect."""
    value = {"shift": 0.2, "angle": 15.0, "scale": 1.3}.get(name.split("_")[0], 0.1 if "offset" in name else 1.6)
    things, rows = scene(1), only(**{name: value})
    torch.testing.assert_close(apply(rows, things)[0], reference(things, rows, 0), atol=3e-4, rtol=0)
    assert (apply(rows, things) - apply(neutral_rows(1), things)).abs().max() > 0.02


def test_the_neutral_row_is_the_identity():
    """A seed under the neutral row is the square of its image, unchanged."""
    things = scene(1) | {"centre": torch.tensor([[40.0, 30.0]]), "side": torch.tensor([32.0])}
    sample = apply(neutral_rows(1), things)
    torch.testing.assert_close(sample, things["images"][:, :, 14:46, 24:56], atol=1e-5, rtol=0)


def test_neutral_ranges_draw_neutral_rows():
    """Equal bounds at the neutral value switch every transformation off."""
    torch.testing.assert_close(draw(100, NOTHING), neutral_rows(100))


def test_the_order_is_principal_components_stretch_hsv_hue():
    """The paper's text has colour before contrast; here, as in the release, value is raised after the stretch."""
    things = scene(1)
    sample = apply(only(stretch_fraction=1.0, value_power=2.0, pca_factor_3=0.5), things)
    stretched = apply(only(stretch_fraction=1.0, pca_factor_3=0.5), things)
    torch.testing.assert_close(sample.amax(1), stretched.amax(1) ** 2, atol=1e-5, rtol=0)
    assert sample.max() == pytest.approx(1, abs=1e-5)


def test_a_full_turn_of_hue_or_angle_changes_nothing():
    """They are measured in turns and degrees."""
    things = scene(1)
    for row in (only(hue_offset_turns=1.0), only(angle_degrees=360.0)):
        torch.testing.assert_close(apply(row, things), apply(neutral_rows(1), things), atol=1e-4, rtol=0)


def test_hue_and_shift_do_not_touch_each_other():
    """Geometry moves pixels and colour repaints them: in whichever order, here shown for both halves of the row."""
    things, row = scene(1), draw(1, replace(RANGES, stretch_fraction=0.0))
    geometry, colours = row.clone(), row.clone()
    geometry[:, 4:], colours[:, :4] = neutral_rows(1)[:, 4:], neutral_rows(1)[:, :4]
    moved = apply(geometry, things)
    recoloured = transformation.recolour(moved, colours, basis=things["basis"], mean=things["mean"])
    torch.testing.assert_close(recoloured, apply(row, things), atol=1e-5, rtol=0)


def test_a_patch_without_two_levels_of_a_byte_is_not_stretched():
    """What rounding leaves of a flat patch is no texture; a range of one level is stretched to black and white."""
    patches = torch.full((2, 3, 32, 32), 0.5)
    patches[0, :, 3, 3] += 1e-5
    patches[1, :, 3, 3] += 1 / 255
    stretched = transformation.colour.stretch(patches, torch.ones(2))
    assert torch.equal(stretched[0], patches[0])
    assert stretched[1].max() == pytest.approx(1, abs=1e-4)
    assert stretched[1].min() == pytest.approx(0, abs=1e-4)


def test_samples_are_colours():
    """Whatever the row, pixels are finite and between 0 and 1, also of flat, black and white images."""
    things = scene(200)
    things["images"][0], things["images"][1], things["images"][2] = 0.0, 1.0, 0.3
    samples = apply(draw(200, RANGES), things)
    assert samples.shape == (200, 3, 32, 32)
    assert samples.isfinite().all()
    assert samples.min() >= 0
    assert samples.max() <= 1


def test_a_sample_does_not_depend_on_its_batch():
    """A batch gives what its rows give alone, so that the order of training changes no sample."""
    things, rows = scene(3), draw(3, RANGES)
    whole = apply(rows, things)
    for index in range(3):
        one = {name: t if name in ("basis", "mean") else t[index : index + 1] for name, t in things.items()}
        torch.testing.assert_close(apply(rows[index : index + 1], one)[0], whole[index], atol=1e-5, rtol=0)


def test_the_images_are_not_written_to():
    """The set's own pixels serve every epoch."""
    things = scene(2)
    before = things["images"].clone()
    apply(draw(2, RANGES), things)
    assert torch.equal(things["images"], before)


UNIFORM = {
    "shift_x_fraction": RANGES.shift_fraction,
    "shift_y_fraction": RANGES.shift_fraction,
    "scale_factor": RANGES.scale_factor,
    "angle_degrees": RANGES.angle_degrees,
    "saturation_offset": RANGES.saturation_offset,
    "value_offset": RANGES.value_offset,
    "hue_offset_turns": RANGES.hue_offset_turns,
}
LOG_UNIFORM = {
    "saturation_power": RANGES.saturation_power,
    "saturation_factor": RANGES.saturation_factor,
    "value_power": RANGES.value_power,
    "value_factor": RANGES.value_factor,
}
TABLE = draw(20_000, RANGES)


def drawn(name: str, table: Tensor = TABLE) -> Tensor:
    return table[:, COLUMNS.index(name)].double()


def differs(values: Tensor, distribution: str, *arguments: float) -> float:
    """The largest distance between the two distribution functions; about 0.01 is chance for 20,000 draws."""
    named = getattr(stats, distribution)(*arguments)  # scipy 1.18 takes no `args` with "norm"
    return float(stats.kstest(values.numpy(), named.cdf).statistic)


@pytest.mark.parametrize("name", [*UNIFORM, *LOG_UNIFORM])
def test_every_draw_lies_in_its_range(name: str):
    """The ranges of params.yaml are bounds and not habits."""
    low, high = (UNIFORM | LOG_UNIFORM)[name]
    assert low - 1e-6 <= drawn(name).min() < low + 0.01 * (high - low)
    assert high + 1e-6 >= drawn(name).max() > high - 0.01 * (high - low)


@pytest.mark.parametrize("name", UNIFORM)
def test_shifts_scales_angles_and_offsets_are_drawn_evenly(name: str):
    """Also the scale, as in the release."""
    low, high = UNIFORM[name]
    assert differs(drawn(name), "uniform", low, high - low) < 0.015


@pytest.mark.parametrize("name", LOG_UNIFORM)
def test_powers_and_factors_are_drawn_on_a_logarithmic_scale(name: str):
    """Halving is as likely as doubling."""
    low, high = map(math.log, LOG_UNIFORM[name])
    assert differs(drawn(name).log(), "uniform", low, high - low) < 0.015


@pytest.mark.parametrize("component", [1, 2, 3])
def test_principal_components_are_drawn_as_the_release_or_as_the_paper_does(component: int):
    """2 ** x with x normal of the component's own spread, or even between minus and plus that spread."""
    name, spread = f"pca_factor_{component}", RANGES.pca_log2_spread[component - 1]
    assert differs(drawn(name).log2(), "norm", 0, spread) < 0.015
    even = draw(20_000, replace(RANGES, pca_distribution="uniform"))
    assert differs(drawn(name, even).log2(), "uniform", -spread, 2 * spread) < 0.015


def test_the_stretch_is_the_same_for_all():
    """It is a strength and no die."""
    assert (drawn("stretch_fraction") == torch.tensor(0.9).double()).all()


def test_columns_are_drawn_independently():
    """No column knows another: the correlations of 20,000 rows are chance."""
    columns = [name for name in COLUMNS if name != "stretch_fraction"]
    correlation = torch.corrcoef(torch.stack([drawn(name) for name in columns])) - torch.eye(len(columns))
    assert correlation.abs().max() < 0.04


def test_the_same_random_seed_draws_the_same_table_bit_for_bit():
    """And another seed another one."""
    assert torch.equal(draw(50, RANGES, seed=3), draw(50, RANGES, seed=3))
    assert not torch.equal(draw(50, RANGES, seed=3), draw(50, RANGES, seed=4))


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_sees_the_same_samples(device: str):
    """From the same rows: only rounding may differ."""
    things, table = scene(4), draw(4, RANGES, seed=5)
    there = {name: tensor.to(device) for name, tensor in things.items()}
    torch.testing.assert_close(apply(table.to(device), there).cpu(), apply(table, things), atol=3e-4, rtol=0)


def test_a_square_is_inside_when_all_its_pixels_are():
    """Turned by 45 degrees a square of 32 pixels needs 45.3; on the border it is still inside."""
    centre, side = torch.tensor([[16.0, 16.0]]), torch.tensor([32.0])
    place = {"centre": centre, "side": side}
    assert inside(neutral_rows(1), **place, size=(32, 32)).all()
    assert not inside(neutral_rows(1), **place, size=(32, 31)).any()
    assert not inside(only(shift_x_fraction=0.01), **place, size=(32, 32)).any()
    assert not inside(only(scale_factor=0.99), **place, size=(32, 32)).any()
    assert inside(only(scale_factor=1.5, angle_degrees=45.0), **place, size=(32, 32)).all()
    assert not inside(only(scale_factor=1.4, angle_degrees=45.0), **place, size=(32, 32)).any()


def test_a_square_that_is_inside_never_shows_a_mirrored_pixel():
    """Where `inside` says yes, every position that is sampled lies in the image."""
    count = 5000
    rows, side = draw(count, RANGES), torch.full((count,), 32.0)
    centre = 20 + 40 * torch.rand(count, 2, generator=dice(6))
    points = transformation.geometry.pixel_points(32, device=torch.device("cpu"))
    where = transformation.positions(rows, centre=centre, side=side, points=points)
    leaves = ((where < 0) | (where > 80)).any(2).any(1)
    kept = inside(rows, centre=centre, side=side, size=(80, 80))
    assert 0.1 < kept.double().mean() < 0.9
    assert not (kept & leaves).any()
