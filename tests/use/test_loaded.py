"""A loaded encoder takes images as users have them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exemplar.errors import UserError
from exemplar.models.network import Pixels
from exemplar.models.saved import load_encoder as load_network
from exemplar.tracking.serving import FeatureFunction
from exemplar.use.loaded import LoadedEncoder, load_encoder
from exemplar.use.shipped import SHIPPED

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 3, 44, 52), np.uint8)


@pytest.fixture(scope="module")
def encoder(encoder_file: Path) -> LoadedEncoder:
    return load_encoder(encoder_file)


WAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "bytes, planes first": lambda images: images,
    "bytes, planes last": lambda images: images.transpose(0, 2, 3, 1),
    "bytes as whole numbers of 64 bits": lambda images: images.astype(np.int64),
    "bytes as whole numbers of 16 bits, in the other byte order": lambda images: images.astype(">u2"),
    "floats": lambda images: images / 255,
    "floats in the other byte order, planes last": lambda images: (images.transpose(0, 2, 3, 1) / 255).astype(">f8"),
    "halves of a tensor": lambda images: torch.from_numpy(images / 255).float(),
    "a tensor of bytes, planes last": lambda images: torch.from_numpy(images).permute(0, 2, 3, 1),
    "a list of arrays": list,
    "a generator of PIL images": lambda images: (Image.fromarray(image.transpose(1, 2, 0)) for image in images),
}


@pytest.mark.parametrize("way", WAYS)
def test_images_of_any_kind_give_the_features_that_the_logged_model_gives(
    way: str, encoder: LoadedEncoder, encoder_file: Path
):
    """Arrays and tensors, planes first or last, bytes or floats, many at once or one by one."""
    expected = FeatureFunction(load_network(encoder_file)).predict(IMAGES)
    np.testing.assert_allclose(encoder.features(WAYS[way](IMAGES)), expected, rtol=1e-4, atol=1e-6)


def test_one_image_gives_one_vector(encoder: LoadedEncoder, tmp_path: Path):
    """As a path, a PIL image or an array of three axes; a list of one is many."""
    picture = Image.fromarray(IMAGES[0].transpose(1, 2, 0))
    picture.save(tmp_path / "picture.png")
    one = encoder.features(IMAGES[0])
    assert (one.shape, one.dtype) == ((4 * (4 + 4 + 8),), np.float32)
    for image in (tmp_path / "picture.png", str(tmp_path / "picture.png"), picture):
        np.testing.assert_array_equal(encoder.features(image), one)
    assert encoder.features([tmp_path / "picture.png"]).shape == (1, len(one))


def test_images_of_several_sizes_are_described_one_by_one(encoder: LoadedEncoder):
    """A larger image has no more features than a small one."""
    rows = encoder.features([IMAGES[0], IMAGES[0, :, :40, :40]])
    np.testing.assert_array_equal(rows[1], encoder.features(IMAGES[0, :, :40, :40]))


def test_a_side_scales_the_largest_middle_square(encoder: LoadedEncoder):
    """What lies beside the square changes nothing."""
    beside = IMAGES.copy()
    beside[:, :, :, :4] = 0
    np.testing.assert_array_equal(encoder.features(IMAGES, side=40), encoder.features(beside, side=40))
    assert not np.array_equal(encoder.features(IMAGES), encoder.features(beside))


def test_too_little_memory_is_told(encoder: LoadedEncoder):
    """In one line; before, images that are too large by their pixels alone are refused."""
    with pytest.raises(UserError, match=r"^out of memory: features of 1 images; pass a smaller side, or the device"):
        encoder.forward(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), side=1_000_000)


def test_memory_does_not_grow_with_the_number_of_images(encoder: LoadedEncoder):
    """Images of an endless iterable are asked for one by one."""

    def endless():
        while True:
            yield IMAGES[0]

    blocks = encoder.feature_blocks(endless())
    np.testing.assert_array_equal(next(blocks), next(blocks))


def cut_picture() -> Image.Image:
    """A picture that is opened, and whose file ends in its middle."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    return Image.open(io.BytesIO(file.getvalue()[:900]))


def closed_picture() -> Image.Image:
    """A picture whose memory is given back."""
    picture = Image.new("RGB", (40, 40))
    picture.close()
    return picture


REFUSED: list[tuple[Any, str]] = [
    (Image.new("F", (40, 40)), "the picture has floating-point values, whose range is unknown"),
    (Image.fromarray(np.full((40, 40), -5, np.int32)), "the picture has values from -5 to -5; expected 0 to 65,535"),
    (cut_picture(), "the picture is no whole picture (image file is truncated"),
    (closed_picture(), "the picture is no whole picture (Operation on closed image)"),
    (Image.new("RGB", (0, 40)), "the picture has 0 x 40 pixels; expected at least one"),
    (np.ma.masked_greater(IMAGES, 200), "an array with masked values, which have no colour; fill them"),
    (torch.from_numpy(IMAGES / 255).to_sparse(), "a sparse tensor is no image; make it dense"),
    (torch.from_numpy(IMAGES / 255).to(torch.float8_e4m3fn), "images of torch.float8_e4m3fn; expected bytes"),
    (None, "NoneType is no image; expected a path, a PIL image, an array or a tensor"),
    (b"bytes", "bytes is no image"),
    ({"a": 1}, "dict is no image"),
    (3.0, "float is no image"),
    ([3.0], "float is no image"),
    ([], "there is no image"),
    (np.array(["a"] * 3), "an array of <U1 is no image"),
    (IMAGES[0, 0], "images of the shape [44, 52]; expected [3 h w]"),
    (IMAGES[:, :1], "no axis has three colours"),
    (np.zeros((2, 40, 40, 4), np.uint8), "no axis has three colours"),
    (np.zeros((2, 3, 40, 3), np.uint8), "both axes could be the colours"),
    (np.zeros((0, 3, 40, 40), np.uint8), "images of the shape [0, 3, 40, 40]"),
    (IMAGES > 9, "images of torch.bool; expected bytes (0 to 255) or floats between 0 and 1"),
    (IMAGES.astype(np.int64) + 1, "images with values from 1 to 256 as torch.int64; expected bytes (0 to 255)"),
    (IMAGES.astype(np.int8), "images with values from -128 to 127 as torch.int8; expected bytes (0 to 255)"),
    ((IMAGES > 9).astype(int), "images of 0 and 1 only, as torch.int64: these may be bytes"),
    (IMAGES.astype(float), "images with values from 0 to 255 as torch.float64; expected bytes (0 to 255) or floats"),
    (IMAGES / 255 - 0.5, "images with values from -0.5 to 0.5"),
    (np.full((1, 3, 40, 40), np.nan), "images with values from nan to nan"),
    (IMAGES[:, :, :30], "images of 52 x 30 pixels are too small for 4c5-4c5-8f with 2 cells a side; expected 36"),
    (np.zeros((3, 2100, 2100), np.uint8), "images of 2100 x 2100 pixels are too large to be taken as they are"),
    ("nosuch.png", "nosuch.png cannot be read (No such file or directory)"),
]


@pytest.mark.parametrize(("images", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_can_be_no_image_is_refused_in_one_line(images: Any, message: str, encoder: LoadedEncoder):
    """The line says what came, what was expected and what to do."""
    with pytest.raises(UserError) as caught:
        encoder.features(images)
    assert message in str(caught.value)


@pytest.mark.parametrize("side", [0, -1])
def test_a_side_or_cells_that_are_no_counts_are_refused(side: int, encoder_file: Path, encoder: LoadedEncoder):
    """A side of 0 does not mean that pictures are taken as they are, which None does."""
    with pytest.raises(UserError, match=r"side is \(.*\); expected numbers from 1"):
        encoder.features(IMAGES, side=side)
    with pytest.raises(UserError, match=r"cells is \(.*\); expected numbers from 1"):
        load_encoder(encoder_file, cells=(side,))
    assert encoder.features(Image.new("RGB", (400, 1)), side=40).shape == encoder.features(IMAGES[0]).shape


def test_raw_pixels_of_several_sizes_need_a_side():
    """Their features are the image itself."""
    pixels = LoadedEncoder(Pixels())
    with pytest.raises(UserError, match="pass side=96"):
        pixels.features([IMAGES[0], IMAGES[0, :, :40]])
    assert pixels.features([IMAGES[0], IMAGES[0, :, :40]], side=8).shape == (2, 3 * 8 * 8)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path):
    """A name that ends like an encoder's file is no run."""
    with pytest.raises(UserError, match=r"there is no encoder .*gone.safetensors; expected a .safetensors file"):
        load_encoder(tmp_path / "gone.safetensors")


def test_scikit_learn_classifies_pictures(encoder_file: Path, labeled):
    """The transformer stands in a pipeline, is cloned, and says what is wrong as scikit-learn's own do."""
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    from exemplar import ExemplarFeatures

    pipeline = make_pipeline(clone(ExemplarFeatures(encoder_file, side=40, cells=(1, 2))), LinearSVC())
    train, test = labeled.train[0], labeled.test[0]
    pipeline.fit(labeled.images[train], labeled.labels[train])
    assert pipeline.score(labeled.images[test], labeled.labels[test]) == 1
    assert pipeline[0].transform(labeled.images[:2]).shape == (2, 5 * 16)
    with pytest.raises(NotFittedError):
        ExemplarFeatures(encoder_file).transform(labeled.images)
    with pytest.raises(ValueError, match="no axis has three colours"):
        pipeline.predict(labeled.images[:, :1])
    with pytest.raises(ValueError, match="there is no encoder"):
        ExemplarFeatures("gone.safetensors").fit()


def test_an_encoder_comes_with_the_package():
    """It is the small network, and what its card says of it is so; its code there runs as it stands."""
    shipped = load_encoder()
    card = SHIPPED.with_suffix(".md").read_text()
    weights = sum(parameter.numel() for parameter in shipped.encoder.parameters())
    assert f"`{shipped.model}`" in card
    assert f"{weights:,} weights" in card
    assert f"makes {sum(shipped.block_widths(96)):,} features" in card
    assert "exemplar.load_encoder().features([" in card
