"""`photos`: ten photographs that ship inside scikit-image and scikit-learn, as a miniature of STL-10's protocol.

The ten classes are "which photograph is this tile from". It is a stand-in to see the machine work and no benchmark.
Unlabeled and training tiles come from the left 60 % of each photograph, test tiles from the right 40 %, so that no
pixel is in both.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from exemplar.datasets.base import Labeled
from exemplar.datasets.images import UNDECODABLE
from exemplar.errors import UserError

PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg"),
    "ihc": ("skimage", "data/ihc.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
}
SHORT_SIDE, TILE = 400, 96
LEFT_FRACTION = 0.6
UNLABELED_STEP, LABELED_STEP = 24, 8
FOLDS, TRAIN_PER_FOLD, TEST_PER_CLASS = 5, 10, 100
TILES_SEED = 20150619


def read_photograph(name: str) -> UInt8[np.ndarray, "3 h w"]:
    """One photograph out of the installed package that ships it, 400 pixels on its short side."""
    package, path = PHOTOGRAPHS[name]
    try:
        with Image.open(package_folder(package) / path) as opened:
            image = opened.convert("RGB")
    except UNDECODABLE as error:
        raise UserError(
            f"photograph {name!r} cannot be read ({error}); reinstall {package}, whose wheel ships it"
        ) from None
    ratio = SHORT_SIDE / min(image.size)
    size = (max(SHORT_SIDE, round(image.width * ratio)), max(SHORT_SIDE, round(image.height * ratio)))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def package_folder(package: str) -> Path:
    """Where a package is installed, without importing it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            f"the embedded photographs need the package {package}, which is not installed; run `make setup`"
        )
    return Path(found.origin).parent


def tiles(area: UInt8[np.ndarray, "3 h w"], *, step: int) -> UInt8[np.ndarray, "n 3 96 96"]:
    """All tiles of 96 x 96 whose corners lie on a grid of `step` pixels."""
    windows = np.lib.stride_tricks.sliding_window_view(area, (3, TILE, TILE))[0, ::step, ::step]
    return windows.reshape(-1, 3, TILE, TILE)


def halves(photograph: UInt8[np.ndarray, "3 h w"]) -> tuple[UInt8[np.ndarray, "3 h l"], UInt8[np.ndarray, "3 h r"]]:
    """The left 60 % and the right 40 %."""
    border = int(photograph.shape[2] * LEFT_FRACTION)
    return photograph[:, :, :border], photograph[:, :, border:]


def draw_tiles(
    area: UInt8[np.ndarray, "3 h w"], *, count: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "n 3 96 96"]:
    """`count` different tiles of an area."""
    found = tiles(area, step=LABELED_STEP)
    return found[generator.choice(len(found), count, replace=False)]


def write_unlabeled(archive: Path | None, folder: Path) -> None:
    """Write the tiles of the left sides, 91 or more of each photograph."""
    images = [tiles(halves(read_photograph(name))[0], step=UNLABELED_STEP) for name in PHOTOGRAPHS]
    np.save(folder / "images.npy", np.concatenate(images))


def write_labeled(archive: Path | None, folder: Path, *, random_seed: int) -> None:
    """Write five folds of 10 training tiles a class from the left and 100 test tiles a class from the right.

    The tiles are the same whatever the `random_seed` of the run is, as STL-10's folds are.
    """
    generator = np.random.default_rng(TILES_SEED)
    train, test = [], []
    for name in PHOTOGRAPHS:
        left, right = halves(read_photograph(name))
        train.append(draw_tiles(left, count=FOLDS * TRAIN_PER_FOLD, generator=generator))
        test.append(draw_tiles(right, count=TEST_PER_CLASS, generator=generator))
    classes = np.arange(len(PHOTOGRAPHS))
    train_index = np.arange(len(classes) * FOLDS * TRAIN_PER_FOLD).reshape(len(classes), FOLDS, TRAIN_PER_FOLD)
    test_index = np.arange(train_index.size, train_index.size + len(classes) * TEST_PER_CLASS)
    folds: Int64[np.ndarray, "folds m"] = train_index.transpose(1, 0, 2).reshape(FOLDS, -1)
    Labeled(
        images=np.concatenate([*train, *test]),
        labels=np.concatenate([classes.repeat(FOLDS * TRAIN_PER_FOLD), classes.repeat(TEST_PER_CLASS)]),
        train=folds,
        test=np.tile(test_index, (FOLDS, 1)),
        classes=tuple(PHOTOGRAPHS),
    ).save(folder)
