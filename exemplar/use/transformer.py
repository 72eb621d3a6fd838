"""A trained encoder behind scikit-learn's interface.

A module of its own because nothing else here needs scikit-learn, whose import takes longer than the features of a
picture.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from exemplar.errors import UserError
from exemplar.use.loaded import LoadedEncoder, load_encoder

Unchecked = Any  # an estimator is handed anything, and the encoder says what is wrong with it


class ExemplarFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Images to features [n d]: `Pipeline([("features", ExemplarFeatures("e.safetensors")), ("svm", LinearSVC())])`.

    `encoder` is a file or a run, as `load_encoder` takes it, `side` the pixels that images are scaled to (None: as they
    are), `cells` the grids of cells in which maps are pooled. X is whatever `LoadedEncoder.features` takes as many.
    """

    def __init__(self, encoder: Unchecked, *, side: Unchecked = None, cells: Unchecked = (2,)) -> None:
        self.encoder = encoder
        self.side = side
        self.cells = cells

    def fit(self, X: Unchecked = None, y: Unchecked = None) -> "ExemplarFeatures":
        """Load the encoder, which is trained already; the images are not looked at."""
        try:
            self.encoder_ = load_encoder(self.encoder, cells=tuple(self.cells))
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    def transform(self, X: Unchecked) -> Float[np.ndarray, "n d"]:
        """The features of every image."""
        check_is_fitted(self)
        encoder: LoadedEncoder = self.encoder_
        try:
            features: np.ndarray = encoder.features(X, side=self.side)
        except UserError as error:
            raise ValueError(str(error)) from error
        return features if features.ndim == 2 else features[None]

    def __sklearn_tags__(self) -> Unchecked:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        tags.requires_fit = True
        return tags
