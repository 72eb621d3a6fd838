"""A saved encoder as MLflow's python function: images in, features out. And the one door for images that are numbers.

MLflow finds this module by name in the copy of the package that travels with every logged encoder. Its server turns
JSON into whole numbers of 64 bits or floats, which the model is given as they come: a signature would cast them first,
and floats between 0 and 1 to bytes, which are then black pictures.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError
from exemplar.models.images import images_at_once
from exemplar.models.network import Encoder, Pixels
from exemplar.models.saved import load_encoder

QUADRANTS = (2,)
REQUIREMENTS = ("jaxtyping", "numpy", "safetensors", "torch")  # beside MLflow, which adds itself
LARGEST_PIXELS = 1 << 22  # of one image, whose maps in 64 channels then take 1 GB
LAYOUTS = "[3 h w] or [h w 3], or many of them, [n 3 h w] or [n h w 3]"
NUMBERS = "bytes (0 to 255) or floats between 0 and 1"
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class FeatureFunction:
    """Images to the features that the probe sees: every layer's maps, max-pooled in four quadrants."""

    def __init__(self, encoder: Encoder | Pixels) -> None:
        self.encoder = encoder.eval()

    def predict(self, images: Any, params: object = None) -> Float[np.ndarray, "n d"]:  # noqa: ANN401  # what a client sent
        """One feature vector per image; for what can be no images it raises what MLflow answers with status 400."""
        try:
            return self.features(images)
        except UserError as error:
            from mlflow.exceptions import MlflowException

            raise MlflowException.invalid_parameter_value(str(error)) from None

    def features(self, images: Any) -> Float[np.ndarray, "n d"]:  # noqa: ANN401  # what a client sent
        """The same; raises UserError for what can be no images."""
        planes = in_planes(as_tensor(images))
        height, width = planes.shape[2:]
        require_size(self.encoder, height, width, cells=QUADRANTS)
        numbers = unit_range(planes)
        with torch.inference_mode():
            chunks = torch.split(numbers, images_at_once(self.encoder, height, width, torch.device("cpu")))
            rows = [torch.cat(self.encoder.extract_features(chunk.contiguous(), QUADRANTS), 1) for chunk in chunks]
        return torch.cat(rows).numpy()


def as_tensor(images: Any) -> Tensor:  # noqa: ANN401  # what a user hands over
    """Images as a tensor of the numbers that came; raises UserError for what holds no numbers."""
    if np.ma.is_masked(images):
        raise UserError("an array with masked values, which have no colour; fill them, as images.filled(0) does")
    if isinstance(images, np.ndarray) and images.dtype.kind in "biuf" and images.dtype.itemsize <= 8:
        images = torch.from_numpy(images.astype(known_kind(images.dtype)))
    if not isinstance(images, Tensor):
        said = f"an array of {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise UserError(f"{said} is no image; expected a path, a PIL image, an array or a tensor of {NUMBERS}")
    if images.layout != torch.strided:
        raise UserError("a sparse tensor is no image; make it dense, as images.to_dense() does")
    return images


def known_kind(kind: np.dtype) -> np.dtype:
    """The type of the same numbers that PyTorch knows: in this machine's byte order, and signed but for bytes."""
    native = kind.newbyteorder("=")
    return np.dtype(np.int64) if native.kind == "u" and native.itemsize > 1 else native


def in_planes(images: Tensor) -> Tensor:
    """The images as [n 3 h w]; raises UserError for a shape that has no axis of three colours, or two."""
    batch = images[None] if images.ndim == 3 else images
    if batch.ndim != 4 or batch.numel() == 0:
        raise UserError(f"images of the shape {list(images.shape)}; expected {LAYOUTS}")
    first, last = batch.shape[1] == 3, batch.shape[3] == 3
    if first == last:
        said = (
            "both axes could be the colours" if first else "no axis has three colours (repeat a grey one, drop alpha)"
        )
        raise UserError(f"images of the shape {list(images.shape)}: {said}; expected {LAYOUTS}")
    return batch if first else batch.permute(0, 3, 1, 2)


def unit_range(images: Tensor) -> Float[Tensor, "n 3 h w"]:
    """Bytes or floats as floats between 0 and 1; raises UserError for numbers that can be neither.

    Whole numbers are bytes, whatever their type, and those with a fraction are floats. Whole numbers of other types
    than bytes that are all 0 or 1 could be both, as a client's floats 0.0 and 1.0 may be written, and are refused.
    """
    if images.dtype == torch.uint8:
        return images.float() / 255
    if images.dtype not in (*WHOLE, *FLOATS):
        raise UserError(f"images of {images.dtype}; expected {NUMBERS}")
    low, high = (value.item() for value in images.aminmax())
    largest = 255 if images.dtype in WHOLE else 1
    if not (low >= 0 and high <= largest):
        raise UserError(f"images with values from {low:g} to {high:g} as {images.dtype}; expected {NUMBERS}")
    if images.dtype in WHOLE and high == 1:
        raise UserError(
            f"images of 0 and 1 only, as {images.dtype}: these may be bytes, all but black, or floats; "
            "expected bytes as uint8, or 0 and 255 for black and white"
        )
    return images.float() / largest


def smallest_side(encoder: Encoder | Pixels, *, cells: tuple[int, ...]) -> int:
    """The pixels that an image needs on each side, so that the last map has a place for every cell."""
    return 1 if isinstance(encoder, Pixels) else PATCH_PIXELS + encoder.total_stride * (max(cells) - 1)


def require_size(encoder: Encoder | Pixels, height: int, width: int, *, cells: tuple[int, ...]) -> None:
    """Raise UserError for images that are too small for the network, or too large for the memory."""
    least = smallest_side(encoder, cells=cells)
    if min(height, width) < least:
        raise UserError(
            f"images of {width} x {height} pixels are too small for {encoder.model} with {max(cells)} cells a "
            f"side; expected {least} or more: enlarge them (side=96 does)"
        )
    if height * width > LARGEST_PIXELS:
        raise UserError(
            f"images of {width} x {height} pixels are too large to be taken as they are: scale them down (side=96 does)"
        )


def _load_pyfunc(path: str | Path) -> FeatureFunction:
    """What MLflow calls with the path of the encoder's file; the name is MLflow's."""
    return FeatureFunction(load_encoder(Path(path)))
