"""The embedded dataset: a miniature of STL-10's protocol out of ten photographs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exemplar.datasets import photos
from exemplar.datasets.base import Labeled, load_images
from exemplar.errors import UserError

Where = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sides of the set as the download stage writes them."""
    root = tmp_path_factory.mktemp("photos")
    write(root, random_seed=0)
    return root


def write(root: Path, *, random_seed: int) -> None:
    for part in ("unlabeled", "labeled"):
        (root / part).mkdir()
    photos.write_unlabeled(None, root / "unlabeled")
    photos.write_labeled(None, root / "labeled", random_seed=random_seed)


def test_ten_photographs_are_ten_classes(written: Path):
    """The classes are "which photograph is this tile from"."""
    labeled = Labeled.load(written / "labeled")
    assert len(labeled.classes) == len(set(labeled.classes)) == 10
    assert labeled.classes == tuple(photos.PHOTOGRAPHS)
    assert set(labeled.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("name", photos.PHOTOGRAPHS)
def test_every_photograph_is_400_pixels_on_its_short_side(name: str):
    """It is found in the installed package, without a download."""
    photograph = photos.read_photograph(name)
    assert min(photograph.shape[1:]) == 400
    assert photograph.dtype == np.uint8
    assert photograph.std() > 20


def test_tiles_are_colour_images_of_96_pixels(written: Path):
    """As those of STL-10."""
    labeled = Labeled.load(written / "labeled")
    assert labeled.images.shape == (1500, 3, 96, 96)
    assert labeled.images.dtype == load_images(written / "unlabeled").dtype == np.uint8
    assert load_images(written / "unlabeled").shape[1:] == (3, 96, 96)
    assert len(load_images(written / "unlabeled")) > 910


def test_five_folds_of_10_tiles_a_class_share_100_test_tiles_a_class(written: Path):
    """Folds are balanced and disjoint, and the test set is the same for all."""
    labeled = Labeled.load(written / "labeled")
    assert labeled.train.shape == (5, 100)
    assert labeled.test.shape == (5, 1000)
    for fold in range(5):
        assert (np.bincount(labeled.labels[labeled.train[fold]]) == 10).all()
        assert (np.bincount(labeled.labels[labeled.test[fold]]) == 100).all()
        assert (labeled.test[fold] == labeled.test[0]).all()
    assert sorted([*labeled.train.ravel(), *labeled.test[0]]) == list(range(1500))


def test_two_downloads_are_equal_bit_for_bit(written: Path, tmp_path: Path):
    """Every file, also under another random seed: the tiles are part of the protocol and no draw of the run."""
    write(tmp_path, random_seed=1)
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert len(files) == 6
    for file in files:
        assert (written / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_a_tile_is_a_piece_of_the_photograph_it_is_labeled_with(written: Path):
    """Each class's tiles are found in its photograph, pixel by pixel: training left, test right of 60 % of it."""
    labeled = Labeled.load(written / "labeled")
    for number, name in enumerate(labeled.classes):
        photograph = photos.read_photograph(name)
        border = int(photograph.shape[2] * 0.6)
        windows = np.lib.stride_tricks.sliding_window_view(photograph[0], (96, 96))
        for tiles, left, right in ((labeled.train, 0, border - 96), (labeled.test, border, photograph.shape[2] - 96)):
            own = tiles[0][labeled.labels[tiles[0]] == number]
            tile = labeled.images[own[0]]
            top = windows[:, left : right + 1, 0, :8]
            candidates = np.argwhere((top == tile[0, 0, :8]).all(2)) + np.array([0, left])
            assert any((photograph[:, y : y + 96, x : x + 96] == tile).all() for y, x in candidates), name


@pytest.fixture
def coordinates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Where]:
    """Write the set from pictures of the photographs' sizes whose every pixel says where it lies; read that back."""
    shapes = {name: photos.read_photograph(name).shape for name in photos.PHOTOGRAPHS}

    def picture(name: str) -> np.ndarray:
        _, height, width = shapes[name]
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        number = list(shapes).index(name)
        return np.stack([x % 256, y % 256, number * 4 + x // 256]).astype(np.uint8)

    def columns(tiles: np.ndarray) -> np.ndarray:
        """The photograph and the column of the pixels in each tile's first row; the other rows stand below it."""
        first = tiles[:, :, 0].astype(np.int64)
        return np.stack([first[:, 2] // 4, first[:, 2] % 4 * 256 + first[:, 0]], 1)

    def read() -> Where:
        monkeypatch.setattr(photos, "read_photograph", picture)
        write(tmp_path, random_seed=0)
        labeled = Labeled.load(tmp_path / "labeled")
        unlabeled = load_images(tmp_path / "unlabeled")
        parts = {"unlabeled": unlabeled, "train": labeled.images[labeled.train.ravel()]}
        parts["test"] = labeled.images[labeled.test[0]]
        return {part: columns(np.asarray(tiles)) for part, tiles in parts.items()}

    return read


def test_no_pixel_of_a_test_tile_is_in_a_training_or_unlabeled_tile(coordinates: Callable[[], Where]):
    """In every photograph all columns of training and unlabeled tiles lie left of all columns of test tiles."""
    where = coordinates()
    for number in range(len(photos.PHOTOGRAPHS)):
        last = {part: found[:, 1][found[:, 0] == number].max() for part, found in where.items()}
        first = {part: found[:, 1][found[:, 0] == number].min() for part, found in where.items()}
        assert max(last["unlabeled"], last["train"]) < first["test"]
        assert last["test"] - first["test"] >= 96


def test_no_labeled_tile_appears_twice(written: Path):
    """The tiles of a class are different pieces of its photograph, so no fold is smaller than it seems."""
    labeled = Labeled.load(written / "labeled")
    textured = [image.tobytes() for image in labeled.images if image.std() > 5]
    assert len(textured) > 1300
    assert len(set(textured)) == len(textured)


def test_a_photograph_that_is_gone_names_the_package_that_ships_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The line says what to install again."""
    monkeypatch.setitem(photos.PHOTOGRAPHS, "gone", ("skimage", "data/gone.png"))
    with pytest.raises(
        UserError, match=r"^photograph 'gone' cannot be read .* reinstall skimage, whose wheel ships it"
    ):
        photos.read_photograph("gone")
    monkeypatch.setitem(photos.PHOTOGRAPHS, "gone", ("no_such_package", "gone.png"))
    with pytest.raises(UserError, match="need the package no_such_package, which is not installed; run `make setup`"):
        photos.read_photograph("gone")
