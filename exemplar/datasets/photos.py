"""`photos`: ten photographs that ship inside scikit-image and scikit-learn, as a miniature of STL-10's protocol.

The label of a tile is the photograph that it comes from, and each labeled tile is seen in a light of its own, so that
it has to be recognised in spite of the light. It is a stand-in to see the machine work and no benchmark.

Every photograph is 600 pixels high. Test tiles come from its rightmost 312 columns, and all else from the columns left
of them, so that no pixel of a test tile is in any other tile. Training tiles share no pixel with each other, whatever
their folds; test tiles overlap by a quarter of their side at most. Unlabeled images share no pixel with each other
either, but they contain training tiles, in the photograph's own light: STL-10's unlabeled images show its classes too.
The square photographs have room for 18 training and 32 test tiles, and so many are cut out of each.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64, UInt8
from PIL import Image

from exemplar.datasets.base import Labeled
from exemplar.datasets.images import UNDECODABLE
from exemplar.datasets.streams import numpy_stream
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
HEIGHT, TILE, UNLABELED = 600, 96, 288  # pixels
TEST_STEP, TEST_COLUMNS = 72, 312
FOLDS, TRAIN_PER_FOLD = 3, 6
TILES_SEED = 20150619
WIDEST_SPREAD = 1.0  # a gain of e ** 1 turns two thirds of all levels white


def read_photograph(name: str) -> UInt8[np.ndarray, "3 600 w"]:
    """One photograph out of the installed package that ships it, scaled to a height of 600 pixels.

    Raises UserError where the package or the file is missing or broken.
    """
    package, path = PHOTOGRAPHS[name]
    try:
        with Image.open(package_folder(package) / path) as opened:
            image = opened.convert("RGB")
    except UNDECODABLE as error:
        raise UserError(
            f"photograph {name!r} cannot be read ({error}); reinstall {package}, whose wheel ships it"
        ) from None
    size = (round(image.width * HEIGHT / image.height), HEIGHT)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def package_folder(package: str) -> Path:
    """Where a package is installed, without importing it; raises UserError where it is not."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the embedded photographs need the package {package}, which is not installed; run `make setup`"
        )
    return Path(spec.origin).parent


def grid(left: int, right: int, *, side: int, step: int) -> Int64[np.ndarray, "n 2"]:
    """The upper left corners (x, y) of all squares of `side` between two columns, `step` pixels apart."""
    x, y = np.meshgrid(np.arange(left, right - side + 1, step), np.arange(0, HEIGHT - side + 1, step))
    return np.stack([x.ravel(), y.ravel()], 1)


def unlabeled_corners(width: int) -> Int64[np.ndarray, "n 2"]:
    """Where unlabeled images of 288 x 288 lie in a photograph of this width: side by side, left of the test tiles."""
    return grid(0, width - TEST_COLUMNS, side=UNLABELED, step=UNLABELED)


def training_corners(width: int, label: int) -> Int64[np.ndarray, "18 2"]:
    """Where the training tiles of a class lie, one fold behind the other: drawn from a grid without overlap."""
    places = grid(0, width - TEST_COLUMNS, side=TILE, step=TILE)
    return numpy_stream(TILES_SEED, "training tiles", label).permutation(places)[: FOLDS * TRAIN_PER_FOLD]


def held_out_corners(width: int) -> Int64[np.ndarray, "32 2"]:
    """Where the test tiles lie: on a grid in the rightmost columns."""
    return grid(width - TEST_COLUMNS, width, side=TILE, step=TEST_STEP)


def cut(
    photograph: UInt8[np.ndarray, "3 600 w"], corners: Int64[np.ndarray, "n 2"], *, side: int
) -> UInt8[np.ndarray, "n 3 _ _"]:
    """The squares with these corners."""
    return np.stack([photograph[:, y : y + side, x : x + side] for x, y in corners])


def relight(
    tiles: UInt8[np.ndarray, "n 3 h w"], *, gamma_spread: float, gain_spread: float
) -> UInt8[np.ndarray, "n 3 h w"]:
    """Each tile in a light of its own: value ** gamma * gain, clipped to 0..1, with one gain for each channel.

    ln(gamma) is even between minus and plus `gamma_spread`, ln(gain) between minus and plus `gain_spread`. The draws
    are the same in every run, and a spread only stretches them.
    """
    draws = numpy_stream(TILES_SEED, "light").uniform(-1, 1, (len(tiles), 4, 1))
    gamma, gain = np.exp(gamma_spread * draws[:, :1]), np.exp(gain_spread * draws[:, 1:])
    levels: Float[np.ndarray, "n 3 256"] = (np.arange(256) / 255) ** gamma * gain
    curves = np.rint(levels.clip(0, 1) * 255).astype(np.uint8)
    return np.stack(
        [np.stack([curve[c][tile[c]] for c in range(3)]) for curve, tile in zip(curves, tiles, strict=True)]
    )


def require_spreads(**spreads: float) -> None:
    """Raise UserError for a spread that leaves no picture to see."""
    for name, spread in spreads.items():
        if not 0 <= spread <= WIDEST_SPREAD:
            raise UserError(
                f"sources.photos.options.{name} is {spread}; expected a number from 0 (plain tiles) to {WIDEST_SPREAD}"
            )


def write_unlabeled(archive: Path | None, folder: Path, *, gamma_spread: float, gain_spread: float) -> None:
    """Write the images of 288 x 288 left of the test tiles; the light concerns labeled tiles only."""
    require_spreads(gamma_spread=gamma_spread, gain_spread=gain_spread)
    photographs = [read_photograph(name) for name in PHOTOGRAPHS]
    images = [cut(each, unlabeled_corners(each.shape[2]), side=UNLABELED) for each in photographs]
    np.save(folder / "images.npy", np.concatenate(images))


def write_labeled(archive: Path | None, folder: Path, *, gamma_spread: float, gain_spread: float) -> None:
    """Write three folds of 6 training tiles a class and 32 test tiles a class, each in a light of its own."""
    require_spreads(gamma_spread=gamma_spread, gain_spread=gain_spread)
    train, test = [], []
    for label, name in enumerate(PHOTOGRAPHS):
        photograph = read_photograph(name)
        train.append(cut(photograph, training_corners(photograph.shape[2], label), side=TILE))
        test.append(cut(photograph, held_out_corners(photograph.shape[2]), side=TILE))
    labels = [np.arange(len(PHOTOGRAPHS)).repeat(len(tiles[0])) for tiles in (train, test)]
    train_index = np.arange(len(labels[0])).reshape(len(PHOTOGRAPHS), FOLDS, TRAIN_PER_FOLD)
    test_index = np.arange(len(labels[0]), len(labels[0]) + len(labels[1]))
    tiles = relight(np.concatenate([*train, *test]), gamma_spread=gamma_spread, gain_spread=gain_spread)
    Labeled(
        images=tiles,
        labels=np.concatenate(labels),
        train=train_index.swapaxes(0, 1).reshape(FOLDS, -1),
        test=np.tile(test_index, (FOLDS, 1)),
        classes=tuple(PHOTOGRAPHS),
    ).save(folder)
