"""The surrogate set: which pixels its samples are made of, and how many there are."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from exemplar.errors import UserError
from exemplar.runtime import memory
from exemplar.surrogate import build, gathering, sets, transformation
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds
from exemplar.surrogate.sets import SurrogateSet

SIDES = np.array([32.0, 40.0, 50.0, 62.5])
# How near the release's seeds come to the border of an image of 96 x 96, at each of its scales (paper.md, section 1).
NEAREST = np.array([21.0, 26.25, 32.8, 41.0])
PER_SEED = ("window_index", "label", "centre", "side")
NOISE = np.random.default_rng(0).integers(0, 256, (4, 3, 96, 96), np.uint8)
RAMP = np.broadcast_to(np.arange(96, dtype=np.uint8) * 2, (4, 3, 96, 96)).copy()
RAMP[:, 1] = RAMP[:, 0].swapaxes(1, 2)


def near_the_corner() -> Seeds:
    """A seed of every size in the upper left corner of its image."""
    return Seeds(image=np.arange(4), centre=np.stack([NEAREST, NEAREST], 1), side=SIDES)


def whole_images(side: int) -> Seeds:
    """Seeds that are all there is of their images."""
    return Seeds(image=np.arange(4), centre=np.full((4, 2), side / 2), side=np.full(4, float(side)))


def rendered(built: SurrogateSet) -> torch.Tensor:
    """All samples."""
    return built.render(torch.arange(len(built)))[0]


def table(built: SurrogateSet) -> torch.Tensor:
    """All rows."""
    return built.rows(torch.arange(len(built)))


def same(one: SurrogateSet, other: SurrogateSet) -> bool:
    """Whether two sets are equal, bit for bit."""
    pairs = zip(one.tensors().values(), other.tensors().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs) and one.draws == other.draws


def bend(samples: torch.Tensor) -> float:
    """The greatest second difference along a row or a column: 0 for whatever is cut out of a ramp."""
    return max(float(samples.diff(n=2, dim=dimension).abs().max()) for dimension in (2, 3))


def test_samples_are_cut_from_the_image_and_never_from_its_border(geometric: Ranges) -> None:
    """Shifted, scaled and turned, a ramp is still a ramp; a mirror would fold it."""
    built, mirrored = build.build(RAMP, near_the_corner(), samples=100, ranges=geometric, random_seed=0)
    assert mirrored == 0
    assert bend(rendered(built)[:, :2]) < 2 / 255
    assert len(torch.unique(table(built)[:, :4])) > 1500


def test_an_image_without_room_is_mirrored_and_says_so(geometric: Ranges) -> None:
    """A seed that is its whole image cannot be shifted inside it; one that may shrink and turn sometimes can."""
    images, seeds = RAMP[:, :, :32, :32], whole_images(32)
    shifted = replace(geometric, shift_fraction=(0.2, 0.25), scale_factor=(1.0, 1.0), angle_degrees=(0.0, 0.0))
    built, mirrored = build.build(images, seeds, samples=10, ranges=shifted, random_seed=0)
    assert mirrored == 1
    assert bend(rendered(built)[:, :2]) > 2 / 255


def test_an_image_without_room_and_neutral_ranges_gives_the_image_itself(neutral: Ranges) -> None:
    """Nothing leaves the image, and every sample is the image."""
    images = NOISE[:, :, :32, :32]
    built, mirrored = build.build(images, whole_images(32), samples=2, ranges=neutral, random_seed=0)
    assert mirrored == 0
    expected = torch.from_numpy(images).repeat_interleave(2, 0).float() / 255
    torch.testing.assert_close(rendered(built), expected, rtol=0, atol=1e-5)


def test_the_mirrored_fraction_counts_the_squares_with_a_corner_outside(geometric: Ranges) -> None:
    """An image without context mirrors what leaves it, as an independent look at the corners counts it."""
    images = NOISE[:, :, :40, :40]
    built, mirrored = build.build(images, whole_images(40), samples=50, ranges=geometric, random_seed=0)
    shift_x, shift_y, scale, angle = table(built)[:, :4].double().T
    turn = torch.deg2rad(angle).abs()
    reach = 0.5 * (turn.cos() + turn.sin()) + torch.maximum(shift_x.abs(), shift_y.abs())
    outside = float((reach / scale > 0.5).double().mean())
    assert 0.5 < mirrored < 1
    assert mirrored == pytest.approx(outside)
    low, high = geometric.shift_fraction
    assert float(shift_x.min()) < 0.95 * low, "drawn again, shifts would be small"
    assert float(shift_x.mean()) == pytest.approx((low + high) / 2, abs=0.05)


@pytest.mark.parametrize(("reach", "size"), [(0.9, (60, 60)), (1.0, (66, 60)), (0.7, (48, 48))])
def test_windows_hold_the_images_own_pixels(reach: float, size: tuple[int, int]) -> None:
    """A seed of 32 pixels keeps a part of its image as it is, and lies in it where it lay in the image.

    A window is a pixel or two wider on each side than squares can reach, and no larger than the image.
    """
    images = NOISE[:, :, :, :60]
    centres = np.array([[21.3, 76.0], [30.0, 48.0], [43.6, 20.0]])
    seeds = Seeds(image=np.array([2, 0, 1]), centre=centres, side=np.full(3, 32.0))
    windows, centre = build.cut_windows(images, seeds, reach=reach)
    assert windows.shape[2:] == size
    for window, image, corner in zip(windows, seeds.image, seeds.centre - centre, strict=True):
        x, y = corner.astype(int)
        assert (corner == (x, y)).all()
        height, width = window.shape[1:]
        np.testing.assert_array_equal(window, images[image, :, y : y + height, x : x + width])
    assert (np.abs(centre[1] - np.array(size[::-1]) / 2) <= 1).all(), (
        "a seed in the middle of its image is in the middle"
    )


@pytest.mark.parametrize("angles", [(-20.0, 10.0), (0.0, 0.0), (-30.0, 70.0), (5.0, 45.0)])
def test_squares_reach_as_far_as_their_farthest_corner(geometric: Ranges, angles: tuple[float, float]) -> None:
    """The farthest of all corners, turned degree by degree; 45 degrees are the worst that an angle can do."""
    ranges = replace(geometric, shift_fraction=(-0.3, 0.2), scale_factor=(0.7, 1.4), angle_degrees=angles)
    turns = np.radians(np.arange(angles[0], angles[1] + 1))
    corners = [0.5 * np.cos(turn) * x - 0.5 * np.sin(turn) * y for turn in turns for x in (-1, 1) for y in (-1, 1)]
    assert build.reach(ranges) == pytest.approx((np.max(corners) + 0.3) / 0.7)


def test_an_image_a_quarter_wider_than_its_seed_gives_samples_that_lie_in_it(neutral: Ranges) -> None:
    """Squares that leave it are drawn again; of an image that is narrower in one direction they are mirrored."""
    ranges = replace(neutral, shift_fraction=(-0.25, 0.25))
    for size, leaves in (((40, 40), False), ((39, 80), True), ((80, 39), True)):
        seeds = Seeds(image=np.zeros(1, np.int64), centre=np.array([size]) / 2, side=np.array([32.0]))
        images = np.zeros((1, 3, *size[::-1]), np.uint8)
        built, mirrored = build.build(images, seeds, samples=200, ranges=ranges, random_seed=0)
        reach = 32 * table(built)[:, :2].abs() + 16
        outside = (reach > torch.tensor(built.size) / 2 + 1e-3).any(1)
        assert mirrored == pytest.approx(float(outside.double().mean()))
        assert (mirrored > 0) == leaves


def test_the_mirrored_fraction_counts_every_class(neutral: Ranges) -> None:
    """Of one class that fits, one whose image is hardly wider and one that never fits two thirds are mirrored."""
    shifted = replace(neutral, shift_fraction=(0.2, 0.25))
    seeds = Seeds(image=np.arange(3), centre=np.full((3, 2), 25.0), side=np.array([32.0, 50.0, 40.0]))
    _, mirrored = build.build(NOISE[:3, :, :50, :50], seeds, samples=10, ranges=shifted, random_seed=0)
    assert mirrored == pytest.approx(2 / 3)


def test_a_seed_of_an_image_that_is_not_there_is_refused(neutral: Ranges) -> None:
    """As when other images have been downloaded since."""
    seeds = Seeds(image=np.array([0, 4]), centre=np.full((2, 2), 48.0), side=np.full(2, 32.0))
    with pytest.raises(UserError, match="a seed is cut from image 4, but there are 4; run the seeds stage again"):
        build.build(NOISE, seeds, samples=1, ranges=neutral, random_seed=0)


def test_windows_are_wide_enough_for_every_square(release: Ranges) -> None:
    """In the middle of a large image no square leaves its window."""
    images = np.zeros((1, 3, 300, 300), np.uint8)
    seeds = Seeds(image=np.zeros(4, np.int64), centre=np.random.default_rng(0).uniform(140, 160, (4, 2)), side=SIDES)
    widest = replace(release, scale_factor=release.scale_factor[:1] * 2, angle_degrees=(20.0, 20.0))
    windows, centre = build.cut_windows(images, seeds, reach=build.reach(release))
    rows = transformation.neutral_rows(4)
    for x in (-0.25, 0.25):
        for y in (-0.25, 0.25):
            rows[:, :4] = torch.tensor([x, y, widest.scale_factor[0], widest.angle_degrees[0]])
            where = {"centre": torch.from_numpy(centre).float(), "side": torch.from_numpy(SIDES).float()}
            assert transformation.inside(rows, **where, size=windows.shape[:1:-1]).all()


def test_wide_seeds_are_smoothed_before_they_are_sampled() -> None:
    """Twice as wide: a Gaussian of half a pixel, as SciPy computes it; three times: of one; rounded to whole bytes."""
    window = NOISE[0]
    for ratio, sigma in ((2.0, 0.5), (3.0, 1.0), (1.5, 0.25)):
        expected = gaussian_filter(window.astype(float), (0, sigma, sigma), mode="mirror", truncate=4)
        np.testing.assert_allclose(build.smooth_window(window, ratio), expected, atol=0.501)
    np.testing.assert_array_equal(build.smooth_window(window, 1.0), window)


def test_a_class_is_a_seed_with_k_rows(release: Ranges) -> None:
    """Sample i is row i % K of seed i // K, and the class is the seed's number."""
    built, _ = build.build(NOISE, near_the_corner(), samples=5, ranges=release, random_seed=0)
    assert table(built).shape == (20, len(transformation.COLUMNS))
    assert len(built) == 20
    samples, classes = built.render(torch.tensor([7, 19]))
    assert classes.tolist() == [1, 3]
    torch.testing.assert_close(samples, built.transform(classes, table(built)[[7, 19]]))
    assert samples.min() >= 0
    assert samples.max() <= 1


def test_the_mean_is_that_of_the_rendered_samples(release: Ranges) -> None:
    """Also where the last batch is smaller than the others."""
    built, _ = build.build(NOISE, near_the_corner(), samples=70, ranges=release, random_seed=0)
    measured = sets.measure_mean(built, device=torch.device("cpu"))
    torch.testing.assert_close(measured, rendered(built).mean(0), rtol=0, atol=1e-5)


def test_the_mean_of_more_samples_than_are_needed_is_that_of_some_at_equal_distances(
    release: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 280 samples here every seventh."""
    built, _ = build.build(NOISE, near_the_corner(), samples=70, ranges=release, random_seed=0)
    monkeypatch.setattr(sets, "MOST_SAMPLES", 40)
    measured = sets.measure_mean(built, device=torch.device("cpu"))
    torch.testing.assert_close(measured, rendered(built)[::7].mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("count", "most", "places"), [(3, 5, [0, 1, 2]), (10, 4, [0, 2, 5, 7]), (4, 4, [0, 1, 2, 3])])
def test_places_at_equal_distances(count: int, most: int, places: list[int]) -> None:
    """All where there are few enough."""
    assert sets.spaced(count, most).tolist() == places


def test_places_among_as_many_samples_as_the_parameters_allow() -> None:
    """Four million seeds with half a million samples each: no place is negative."""
    places = sets.spaced(2 * 10**12, sets.MOST_SAMPLES)
    assert places[0] == 0
    assert places.diff().unique().tolist() == [400_000]


def test_axes_of_more_windows_than_are_needed_are_those_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """At equal distances."""
    monkeypatch.setattr(build, "MOST_WINDOWS", 2)
    some, all_there = build.principal_components(torch.from_numpy(NOISE)), torch.from_numpy(NOISE[::2])
    assert all(torch.equal(*pair) for pair in zip(some, build.principal_components(all_there), strict=True))


def test_windows_that_are_written_to_a_file_are_the_same(release: Ranges, tmp_path: Path) -> None:
    """And so is the set that is saved beside them."""
    expected, _ = build.build(NOISE, near_the_corner(), samples=5, ranges=release, random_seed=0)
    built, _ = build.build(NOISE, near_the_corner(), samples=5, ranges=release, random_seed=0, folder=tmp_path)
    built.save(tmp_path, windows=False)
    loaded = SurrogateSet.load(tmp_path)
    assert same(built, expected)
    assert same(loaded, expected)


def test_windows_of_a_loaded_set_take_no_memory(release: Ranges, tmp_path: Path) -> None:
    """27 MB here, of which a 16th is allowed for all else."""
    seeds = Seeds(image=np.arange(1000) % 4, centre=np.full((1000, 2), 48.0), side=np.full(1000, 62.5))
    build.cut_windows(NOISE, seeds, reach=build.reach(release), folder=tmp_path)
    built, _ = build.build(NOISE, near_the_corner(), samples=1, ranges=release, random_seed=0)
    replace(built, **{name: getattr(built, name)[torch.arange(1000) % 4] for name in PER_SEED}).save(
        tmp_path, windows=False
    )
    tracemalloc.start()
    loaded = SurrogateSet.load(tmp_path)
    assert loaded.windows.shape == (1000, 3, 96, 96)
    assert tracemalloc.get_traced_memory()[1] < loaded.windows.nbytes / 16
    tracemalloc.stop()


def test_large_windows_are_cut_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of 60 x 60 pixels fit into the bytes that are allowed here; they are those that are cut at once."""
    seeds = Seeds(image=np.arange(4), centre=np.full((4, 2), 48.0), side=np.full(4, 32.0))
    expected, _ = build.cut_windows(NOISE, seeds, reach=0.9)
    monkeypatch.setattr(memory, "MOST_BYTES_AT_ONCE", 3 * expected[0].nbytes)
    windows, _ = build.cut_windows(NOISE, seeds, reach=0.9, folder=tmp_path)
    np.testing.assert_array_equal(windows, expected)
    assert len(list((tmp_path / "windows.units").iterdir())) == 2


def test_principal_components_are_those_of_the_covariance() -> None:
    """Axes by growing variance, as NumPy finds them."""
    windows = NOISE.copy()
    windows[:, 1] = windows[:, 0] // 2 + windows[:, 1] // 4
    basis, mean = build.principal_components(torch.from_numpy(windows))
    pixels = windows.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    variances = basis.numpy().T @ np.cov(pixels, bias=True) @ basis.numpy()
    np.testing.assert_allclose(mean, pixels.mean(1), atol=1e-6)
    np.testing.assert_allclose(variances, np.diag(np.linalg.eigvalsh(np.cov(pixels, bias=True))), atol=1e-6)


def test_the_same_random_seed_gives_the_same_set(release: Ranges) -> None:
    """Bit for bit; another one gives other transformations of the same windows."""
    one, again, other = (
        build.build(NOISE, near_the_corner(), samples=5, ranges=release, random_seed=number)[0] for number in (3, 3, 4)
    )
    assert same(one, again)
    assert torch.equal(one.windows, other.windows)
    assert not torch.equal(table(one), table(other))


def test_a_saved_set_is_loaded_as_it_was(surrogate_set: SurrogateSet, tmp_path: Path) -> None:
    """Every array and the mean, bit for bit."""
    mean = torch.rand(3, 32, 32)
    surrogate_set.save(tmp_path)
    sets.save_mean(mean, tmp_path)
    loaded = SurrogateSet.load(tmp_path)
    assert same(loaded, surrogate_set)
    assert torch.equal(sets.load_mean(tmp_path), mean)


def test_windows_that_memory_may_not_hold_give_the_same_samples(
    surrogate_set: SurrogateSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same axes of colours: the system is asked for those of a batch before they are read."""
    surrogate_set.save(tmp_path)
    monkeypatch.setattr(gathering, "MOST_IN_MEMORY", 0)
    loaded = SurrogateSet.load(tmp_path)
    assert torch.equal(rendered(loaded), rendered(surrogate_set))
    axes = (build.principal_components(each.windows) for each in (loaded, surrogate_set))
    assert all(torch.equal(*pair) for pair in zip(*axes, strict=True))


def test_a_broken_set_says_what_to_do(surrogate_set: SurrogateSet, tmp_path: Path) -> None:
    """A file that is cut short, empty or gone."""
    surrogate_set.save(tmp_path)
    for name in ("centre.npy", "draws.json"):
        file = tmp_path / name
        whole = file.read_bytes()
        for content in (whole[:-20], b""):
            file.write_bytes(content)
            with pytest.raises(UserError, match="run the surrogate stage again"):
                SurrogateSet.load(tmp_path)
        file.unlink()
        with pytest.raises(UserError, match="run the surrogate stage again"):
            SurrogateSet.load(tmp_path)
        file.write_bytes(whole)
    SurrogateSet.load(tmp_path)


def test_colours_do_not_depend_on_the_signs_of_the_axes(release: Ranges) -> None:
    """An eigenvector is as good as its negative: samples are the same whichever of them is the axis."""
    built, _ = build.build(NOISE, near_the_corner(), samples=20, ranges=release, random_seed=0)
    turned = replace(built, basis=built.basis * torch.tensor([-1.0, 1.0, -1.0]))
    torch.testing.assert_close(rendered(turned), rendered(built), rtol=0, atol=2e-5)


def test_grey_images_have_three_axes() -> None:
    """Also where the channels of an axis sum to 0, so that its colours are kept."""
    grey = torch.from_numpy(NOISE[:, :1].repeat(3, 1))
    basis, _ = build.principal_components(grey)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3), rtol=0, atol=1e-5)


def test_held_out_samples_are_none_of_the_training_samples(release: Ranges) -> None:
    """One for each class, drawn from the same ranges, which another random seed changes."""
    one, other = (
        build.build(NOISE, near_the_corner(), samples=40, ranges=release, random_seed=number)[0] for number in (0, 1)
    )
    held_out = table(one.unseen())
    assert held_out.shape == (4, len(transformation.COLUMNS))
    stretch = transformation.COLUMNS.index("stretch_fraction")  # the only column that is not drawn
    drawn = [column for column in range(len(transformation.COLUMNS)) if column != stretch]
    assert not (table(one).view(4, 40, -1) == held_out[:, None])[:, :, drawn].any()
    assert not (held_out == table(other.unseen()))[:, drawn].any()
    unseen = one.unseen()
    assert len(unseen) == 4
    samples, targets = unseen.render(torch.arange(4))
    assert targets.tolist() == [0, 1, 2, 3]
    assert torch.equal(samples, one.transform(torch.arange(4), held_out))
