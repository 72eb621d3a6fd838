"""A saved encoder as MLflow's python function: images in, features out.

MLflow finds this module by name in the copy of the package that travels with every logged encoder; it imports no
MLflow itself.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from exemplar.models.network import Encoder, Pixels
from exemplar.models.saved import load_encoder
from exemplar.probe.features import extract_features

QUADRANTS = (2,)
REQUIREMENTS = ("filelock", "jaxtyping", "numpy", "psutil", "safetensors", "torch", "tqdm")


class FeatureFunction:
    """Images to the features that the probe sees: every layer's maps, max-pooled in four quadrants."""

    def __init__(self, encoder: Encoder | Pixels) -> None:
        self.encoder = encoder

    def predict(self, images: UInt8[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n d"]:
        """One feature vector per image."""
        return extract_features(self.encoder, images, cells=QUADRANTS)


def _load_pyfunc(path: str | Path) -> FeatureFunction:
    """What MLflow calls with the path of the encoder's file; the name is MLflow's."""
    return FeatureFunction(load_encoder(Path(path)))
