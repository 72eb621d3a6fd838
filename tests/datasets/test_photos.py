"""The embedded dataset: a miniature of STL-10's protocol out of ten photographs."""

from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import photos
from exemplar.datasets.base import Labeled, load_images
from exemplar.errors import UserError

LIGHT = {"gamma_spread": 0.5, "gain_spread": 0.4}
PLAIN = {"gamma_spread": 0.0, "gain_spread": 0.0}


def write(root: Path, *, light: dict[str, float]) -> None:
    for part in ("unlabeled", "labeled"):
        (root / part).mkdir()
    photos.write_unlabeled(None, root / "unlabeled", **light)
    photos.write_labeled(None, root / "labeled", **light)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sides of the set as the download stage writes them."""
    root = tmp_path_factory.mktemp("photos")
    write(root, light=LIGHT)
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set in the light of the photographs."""
    root = tmp_path_factory.mktemp("plain")
    write(root, light=PLAIN)
    return root


@pytest.fixture(scope="module")
def widths() -> dict[str, int]:
    """How wide each photograph is."""
    return {name: photos.read_photograph(name).shape[2] for name in photos.PHOTOGRAPHS}


def covered(corners: np.ndarray, *, side: int, width: int) -> np.ndarray:
    """How many of the squares with these corners each pixel of a photograph lies in."""
    count = np.zeros((photos.HEIGHT, width), int)
    for x, y in corners:
        assert min(x, y) >= 0
        assert x + side <= width
        assert y + side <= photos.HEIGHT
        count[y : y + side, x : x + side] += 1
    return count


def test_ten_photographs_are_ten_classes(written: Path):
    """The label of a tile is the photograph that it comes from."""
    labeled = Labeled.load(written / "labeled")
    assert len(labeled.classes) == len(set(labeled.classes)) == 10
    assert labeled.classes == tuple(photos.PHOTOGRAPHS)
    assert set(labeled.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("name", photos.PHOTOGRAPHS)
def test_every_photograph_is_600_pixels_high(name: str):
    """It is found in the installed package, without a download, and no photograph is higher than wide."""
    photograph = photos.read_photograph(name)
    assert photograph.shape[1] == 600
    assert photograph.shape[2] >= 600
    assert photograph.dtype == np.uint8
    assert photograph.std() > 20


def test_tiles_are_colour_images_of_96_pixels(written: Path):
    """As those of STL-10; unlabeled images are larger, so that seeds have surroundings."""
    labeled, unlabeled = Labeled.load(written / "labeled"), load_images(written / "unlabeled")
    assert labeled.images.shape == (500, 3, 96, 96)
    assert unlabeled.shape == (32, 3, 288, 288)
    assert labeled.images.dtype == unlabeled.dtype == np.uint8


def test_three_folds_of_6_tiles_a_class_share_32_test_tiles_a_class(written: Path):
    """Folds are balanced and disjoint, and the test set is the same for all."""
    labeled = Labeled.load(written / "labeled")
    assert labeled.train.shape == (3, 60)
    assert labeled.test.shape == (3, 320)
    for train, test in zip(labeled.train, labeled.test, strict=True):
        assert (np.bincount(labeled.labels[train]) == 6).all()
        assert (np.bincount(labeled.labels[test]) == 32).all()
        assert (test == labeled.test[0]).all()
    assert sorted([*labeled.train.ravel(), *labeled.test[0]]) == list(range(500))


@pytest.mark.parametrize("name", photos.PHOTOGRAPHS)
def test_no_two_training_tiles_share_a_pixel_and_test_tiles_share_none_with_them(name: str, widths: dict[str, int]):
    """Whatever the fold: C is validated on the training tiles of other folds."""
    width, label = widths[name], list(photos.PHOTOGRAPHS).index(name)
    train = covered(photos.training_corners(width, label), side=photos.TILE, width=width)
    test = covered(photos.held_out_corners(width), side=photos.TILE, width=width)
    assert train.max() == 1
    assert train.sum() == 18 * 96 * 96
    assert not (train.astype(bool) & test.astype(bool)).any()


@pytest.mark.parametrize("name", photos.PHOTOGRAPHS)
def test_no_pixel_of_a_test_tile_is_in_an_unlabeled_image(name: str, widths: dict[str, int]):
    """Nor do two unlabeled images share one, so that a seed's place is known by its image alone."""
    width = widths[name]
    unlabeled = covered(photos.unlabeled_corners(width), side=photos.UNLABELED, width=width)
    test = covered(photos.held_out_corners(width), side=photos.TILE, width=width)
    assert unlabeled.max() == 1
    assert not (unlabeled.astype(bool) & test.astype(bool)).any()


def test_test_tiles_overlap_by_a_quarter_of_their_side_at_most(widths: dict[str, int]):
    """Two of them are 72 pixels apart or more, along x or along y."""
    for width in widths.values():
        corners = photos.held_out_corners(width)
        apart = np.abs(corners[:, None] - corners[None]).max(2) + 1000 * np.eye(32, dtype=int)
        assert apart.min() == 72


def test_tiles_are_cut_where_the_corners_say(plain: Path):
    """Without the light every tile is a piece of its photograph, pixel by pixel, at the place that its row names."""
    labeled, unlabeled = Labeled.load(plain / "labeled"), list(load_images(plain / "unlabeled"))
    for label, name in enumerate(labeled.classes):
        photograph = photos.read_photograph(name)
        width = photograph.shape[2]
        train = [index for fold in labeled.train for index in fold if labeled.labels[index] == label]
        test = labeled.test[0][labeled.labels[labeled.test[0]] == label]
        for indices, corners in (
            (train, photos.training_corners(width, label)),
            (test, photos.held_out_corners(width)),
        ):
            for index, (x, y) in zip(indices, corners, strict=True):
                np.testing.assert_array_equal(labeled.images[index], photograph[:, y : y + 96, x : x + 96])
        for x, y in photos.unlabeled_corners(width):
            np.testing.assert_array_equal(unlabeled.pop(0), photograph[:, y : y + 288, x : x + 288])
    assert not unlabeled


def test_two_downloads_are_equal_bit_for_bit(written: Path, tmp_path: Path):
    """Every file: tiles and lights are part of the protocol and no draw of the run."""
    write(tmp_path, light=LIGHT)
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert len(files) == 6
    for file in files:
        assert (written / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_unlabeled_images_keep_the_light_of_the_photograph(written: Path, plain: Path):
    """The spreads concern labeled tiles only."""
    np.testing.assert_array_equal(load_images(written / "unlabeled"), load_images(plain / "unlabeled"))


def test_each_channel_of_a_tile_is_changed_by_a_gamma_and_a_gain_within_the_spreads():
    """Fitted to a ramp: gamma is the tile's, the gains are its channels', and both fill their ranges evenly."""
    ramp = np.arange(16, 64, dtype=np.uint8)
    tiles = np.broadcast_to(ramp, (400, 3, 1, 48)).copy()
    relit = photos.relight(tiles, **LIGHT)[:, :, 0].astype(float)
    gammas, gains = np.empty((400, 3)), np.empty((400, 3))
    for tile in range(400):
        for channel in range(3):
            level = relit[tile, channel]
            use = (level > 2) & (level < 255)
            slope, offset = np.polyfit(np.log(ramp[use] / 255), np.log(level[use] / 255), 1)
            gammas[tile, channel], gains[tile, channel] = slope, offset
    assert np.abs(gammas - gammas[:, :1]).max() < 0.2, "one gamma for all channels"
    assert np.log(gammas).min() == pytest.approx(-0.5, abs=0.05)
    assert np.log(gammas).max() == pytest.approx(0.5, abs=0.1)
    assert gains.std() == pytest.approx(0.4 / 3**0.5, abs=0.03)
    assert np.abs(np.corrcoef(gains.T) - np.eye(3)).max() < 0.2


def test_a_light_without_spread_changes_nothing():
    """0 and 0 give plain tiles."""
    tiles = np.random.default_rng(0).integers(0, 256, (5, 3, 96, 96), np.uint8)
    np.testing.assert_array_equal(photos.relight(tiles, **PLAIN), tiles)


def test_a_smaller_spread_is_the_same_light_weakened(written: Path):
    """The draws are the same, so half the spread lies between the plain tile and the whole spread."""
    tiles = np.full((200, 3, 2, 2), 100, np.uint8)
    half, whole = (photos.relight(tiles, gamma_spread=0.0, gain_spread=gain).astype(int) for gain in (0.2, 0.4))
    assert (np.abs(half - 100) <= np.abs(whole - 100)).all()
    assert (np.sign(half - 100) * np.sign(whole - 100) >= 0).all()


@pytest.mark.parametrize("wrong", [5.0, -0.1, 1.01])
@pytest.mark.parametrize("name", list(LIGHT))
def test_a_light_that_makes_no_picture_is_refused(tmp_path: Path, name: str, wrong: float):
    """A gain of e ** 5 would show white tiles: the line says what is expected, whichever part is written."""
    said = rf"^sources.photos.options.{name} is {wrong}; expected a number from 0 \(plain tiles\) to 1.0$"
    with pytest.raises(UserError, match=said):
        photos.write_labeled(None, tmp_path, **LIGHT | {name: wrong})
    with pytest.raises(UserError, match=said):
        photos.write_unlabeled(None, tmp_path, **LIGHT | {name: wrong})


def test_a_photograph_that_is_gone_names_the_package_that_ships_it(monkeypatch: pytest.MonkeyPatch):
    """The line says what to install again."""
    monkeypatch.setitem(photos.PHOTOGRAPHS, "gone", ("skimage", "data/gone.png"))
    with pytest.raises(
        UserError, match=r"^photograph 'gone' cannot be read .* reinstall skimage, whose wheel ships it"
    ):
        photos.read_photograph("gone")
    monkeypatch.setitem(photos.PHOTOGRAPHS, "gone", ("no_such_package", "gone.png"))
    with pytest.raises(UserError, match="need the package no_such_package, which is not installed; run `make setup`"):
        photos.read_photograph("gone")
