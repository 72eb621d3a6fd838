"""What an encoder takes for alike: a map of test images by their features, and the nearest neighbours of some."""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch.nn import functional

from exemplar.datasets.base import Labeled
from exemplar.models.images import images_at_once, resize
from exemplar.models.network import Encoder, Pixels

IMAGES_SHOWN, QUERIES_SHOWN, NEIGHBOURS_SHOWN = 120, 6, 7
ENCODERS_SHOWN = 3
THUMB_PIXELS, QUALITY = 48, 80
CELLS = (2,)  # as the logged model pools
LEAST_FOR_A_MAP = 5


@dataclass(frozen=True)
class View:
    """One encoder's: a place between 0 and 1 for each image, and for each query the images that are nearest to it."""

    places: Float[np.ndarray, "n 2"]
    nearest: Int64[np.ndarray, "q k"]


@dataclass(frozen=True)
class Likeness:
    """Some test images of a dataset with their classes, and how encoders see them; `queries` are indices into them."""

    dataset: str
    images: list[str]  # addresses that hold the image itself
    classes: list[str]
    colours: dict[str, str]
    queries: Int64[np.ndarray, " q"]
    views: dict[str, View]

    def hits(self, view: View) -> int:
        """How many of the neighbours that a view shows are of the class of their query."""
        rows = zip(self.queries, view.nearest, strict=True)
        return sum(self.classes[query] == self.classes[other] for query, row in rows for other in row)


def collect(labeled: Labeled, encoders: Mapping[str, Encoder | Pixels], *, dataset: str, side: int) -> Likeness:
    """Choose test images of the first fold evenly, and see them through the first few encoders at `side` pixels."""
    tested = np.sort(labeled.test[0])
    shown = tested[np.linspace(0, len(tested) - 1, min(len(tested), IMAGES_SHOWN)).astype(int)]
    images, labels = np.array(labeled.images[shown]), labeled.labels[shown]
    firsts = np.unique(labels, return_index=True)[1]
    queries = np.sort(firsts)[:QUERIES_SHOWN]
    names = [labeled.classes[label] for label in labels]
    known = list(dict.fromkeys(names))
    colours = {name: f"hsl({360 * place // len(known)} 70% 50%)" for place, name in enumerate(known)}
    few = list(encoders.items())[:ENCODERS_SHOWN]
    views = {name: view(unit_features(encoder, images, side=side), queries) for name, encoder in few}
    return Likeness(dataset, [thumbnail(image) for image in images], names, colours, queries, views)


def unit_features(
    encoder: Encoder | Pixels, images: UInt8[np.ndarray, "n 3 h w"], *, side: int
) -> Float[np.ndarray, "n d"]:
    """Pooled features of unit length in every layer, so that each layer counts as much as another."""
    at_once = images_at_once(encoder, side, side, torch.device("cpu"))
    batches = np.array_split(images, -(-len(images) // at_once))
    rows = []
    with torch.inference_mode():
        for batch in batches:
            blocks = encoder.extract_features(resize(torch.from_numpy(batch).float() / 255, side), CELLS)
            rows.append(torch.cat([functional.normalize(block) for block in blocks], 1))
    return torch.cat(rows).numpy()


def view(features: Float[np.ndarray, "n d"], queries: Int64[np.ndarray, " q"]) -> View:
    """Places by t-SNE (scikit-learn), and the nearest images by the cosine of the features."""
    similarities = features[queries] @ features.T
    similarities[np.arange(len(queries)), queries] = -np.inf
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, : min(NEIGHBOURS_SHOWN, len(features) - 1)]
    return View(places(features), nearest)


def places(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
    """Two numbers between 0 and 1 for each image, so that alike images lie close; a line where there are very few."""
    if len(features) < LEAST_FOR_A_MAP:
        return np.linspace(0.1, 0.9, len(features))[:, None].repeat(2, axis=1)
    from sklearn.manifold import TSNE

    laid = TSNE(init="pca", perplexity=min(30, (len(features) - 1) / 3), random_state=0).fit_transform(features)
    low, high = laid.min(0), laid.max(0)
    scaled: np.ndarray = (laid - low) / np.maximum(high - low, 1e-9)
    return scaled.astype(np.float64)


def thumbnail(image: UInt8[np.ndarray, "3 h w"]) -> str:
    """A small JPEG of an image, as an address that holds it."""
    small = Image.fromarray(image.transpose(1, 2, 0)).resize((THUMB_PIXELS, THUMB_PIXELS), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"


def chosen(methods: Sequence[str]) -> list[str]:
    """The encoders to show: the first, random filters beside it, and what there is room for."""
    return sorted(methods, key=lambda name: (name != methods[0], name != "random"))[:ENCODERS_SHOWN]
