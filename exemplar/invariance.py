"""How much a frozen encoder's features change when the image does (paper, Figure 6 and appendix C).

Test images are transformed as a whole, and what is compared is their central two thirds: 64 of 96 pixels, which stay
inside the image when it is turned by any angle, shifted by a quarter of the crop or shrunk to 0.67.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from scipy.stats import binomtest
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS, Labeled
from exemplar.datasets.streams import numpy_stream
from exemplar.io.atomic import replacing
from exemplar.models.images import resize
from exemplar.models.network import Encoder, Pixels
from exemplar.probe import features, protocol, svm
from exemplar.probe.protocol import Probe
from exemplar.runtime.device import Compute
from exemplar.runtime.progress import track
from exemplar.surrogate import transformation
from exemplar.surrogate.kernels import geometry

BATCH_PIXELS = 16 * 64 * 64  # larger maps are given back to the system after every step, which doubles the time
SMALLEST = 1e-12
# Each name of `invariance.magnitudes` in params.yaml, and the columns of the transformation table that it sets. The
# paper's contrast multiplies, and its legend speaks of the HSV contrast, whose factors these are (docs/method.md).
COLUMNS = {
    "shift_fraction": ("shift_x_fraction",),
    "angle_degrees": ("angle_degrees",),
    "scale_factor": ("scale_factor",),
    "hue_offset_turns": ("hue_offset_turns",),
    "contrast_factor": ("saturation_factor", "value_factor"),
}


@dataclass(frozen=True)
class Readout:
    """A frozen encoder for crops of `side` pixels, and the SVM on its pooled features: `weights` [classes d+1]."""

    encoder: Encoder | Pixels
    settings: Probe
    side: int
    divisors: Sequence[float]
    weights: Float[Tensor, "classes extended"]
    compute: Compute

    def classify(self, crops: Float[Tensor, "b 3 h w"]) -> tuple[list[Float[Tensor, "b ..."]], Int64[Tensor, " b"]]:
        """Features of unit length, each layer's map and last the pooled ones, and the class that the SVM predicts."""
        images = resize(crops, self.side).contiguous(memory_format=torch.channels_last)
        maps = self.encoder.feature_maps(images)
        blocks = self.encoder.pool_maps(maps, self.settings.cells)
        pooled = torch.cat([block / divisor for block, divisor in zip(blocks, self.divisors, strict=True)], 1)
        predicted = svm.decide(self.weights, pooled, self.settings.intercept_scaling).argmax(0)
        return [unit(features) for features in (*maps, pooled)], predicted


def length(features: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """The Euclidean length of each image's features, whatever their shape."""
    lengths: Tensor = torch.linalg.vector_norm(features, dim=tuple(range(1, features.dim())), keepdim=True)
    return lengths


def unit(features: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Each image's features divided by their length."""
    return features / length(features).clamp_min(SMALLEST)


def crop_pixels(size: tuple[int, int]) -> int:
    """Two thirds of the shorter side, on whole pixels: 64 of 96, 22 of 32."""
    return min(size) - 2 * round(min(size) / 6)


def probed_pixels(size: tuple[int, int], settings: Probe, *, total_stride: int) -> int:
    """The side that crops are brought to: in proportion to the probe's, but large enough for all cells in every map."""
    proportion = crop_pixels(size) / min(size)
    return max(PATCH_PIXELS + total_stride * max(settings.cells), round(settings.side * proportion))


def training_crops(labeled: Labeled, *, pixels: int, validation: str) -> Labeled:
    """The central squares of the training images that choose C and train the SVM: the same folds, no test images."""
    folds = labeled.train if validation == "other_folds" else labeled.train[:1]
    used = np.unique(folds)
    top, left = ((side - pixels) // 2 for side in labeled.images.shape[2:])
    return Labeled(
        images=np.array(labeled.images[used, :, top : top + pixels, left : left + pixels]),
        labels=labeled.labels[used],
        train=np.searchsorted(used, folds),
        test=np.empty((len(folds), 0), np.int64),
        classes=labeled.classes,
    )


def fit_readout(
    encoder: Encoder | Pixels, training: Labeled, settings: Probe, *, side: int, random_seed: int, compute: Compute
) -> Readout:
    """Train the SVM on the crops of the first fold, with the C that the probe's own rule chooses."""
    centred = settings.centred(encoder, training)
    extracted = features.measure(centred, training.images, side=side, cells=settings.cells, compute=compute)
    splits = settings.selection_splits(training, random_seed=random_seed)
    C = protocol.choose_C(extracted, training, splits, settings, random_seed=random_seed, compute=compute)
    fitted = protocol.fit(extracted, training, training.train[0], settings, C_values=C[:1], compute=compute)
    return Readout(centred, settings, side, fitted.divisors, fitted.feature_weights(), compute)


def crop(images: Float[Tensor, "b 3 h w"], row: Float[Tensor, " p"], *, pixels: int) -> Float[Tensor, "b 3 s s"]:
    """The central squares of images (0..1) that were all transformed as a row of the table says, about their centre.

    One resampling: turning the square against the image is turning the image.
    """
    rows = row.to(images.device).expand(len(images), -1)
    where = transformation.positions(
        rows,
        centre=images.new_tensor([images.shape[3] / 2, images.shape[2] / 2]).expand(len(images), 2),
        side=images.new_full((len(images),), pixels),
        points=geometry.pixel_points(pixels, device=images.device),
    )
    cut = geometry.cut(images, where, pixels)
    return transformation.recolour(
        cut, rows, basis=torch.eye(3, device=images.device), mean=torch.zeros(3, device=images.device)
    )


def table_row(name: str, magnitude: float) -> Float[Tensor, " p"]:
    """The row of the transformation table that does one thing."""
    row = transformation.neutral_rows(1)[0]
    for column in COLUMNS[name]:
        row[transformation.COLUMNS.index(column)] = magnitude
    return row


def measure(
    encoder: Encoder | Pixels,
    labeled: Labeled,
    settings: Probe,
    *,
    images: int,
    magnitudes: Mapping[str, Sequence[float]],
    random_seed: int,
    compute: Compute,
) -> pd.DataFrame:
    """Accuracy and distances at every magnitude: a row each, `transformation` by `transformation`.

    At most `images` test images of the first fold are drawn. A distance is that of an image's unit-length features
    from those of the same image untransformed, averaged over the images; its unit is the mean distance of two different
    images, each and the one drawn before it. Accuracies come with their 95 % intervals (Wilson), for other test images.
    """
    size = (labeled.images.shape[3], labeled.images.shape[2])
    pixels, side = crop_pixels(size), probed_pixels(size, settings, total_stride=encoder.total_stride)
    training = training_crops(labeled, pixels=pixels, validation=settings.validation)
    readout = fit_readout(encoder, training, settings, side=side, random_seed=random_seed, compute=compute)
    drawn = numpy_stream(random_seed, "invariance images").permutation(labeled.test[0])[:images]
    points = [(name, magnitude) for name, listed in magnitudes.items() for magnitude in listed]
    rows = [table_row(*point) for point in points]
    right, moved, apart = evaluate_transforms(readout, labeled, drawn, rows=rows, pixels=pixels)
    intervals = [binomtest(count, len(drawn)).proportion_ci(method="wilson") for count in right.tolist()]
    layers = [f"distance_layer_{number}" for number in range(1, len(apart))]
    table = pd.DataFrame(points, columns=["transformation", "magnitude"])
    table["accuracy"] = right / len(drawn)
    table[["accuracy_low", "accuracy_high"]] = [(interval.low, interval.high) for interval in intervals]
    table[[*layers, "distance_pooled"]] = moved / np.where(apart > 0, apart, 1)
    return table


def evaluate_transforms(
    readout: Readout,
    labeled: Labeled,
    drawn: Int64[np.ndarray, " n"],
    *,
    rows: Sequence[Float[Tensor, " p"]],
    pixels: int,
) -> tuple[Int64[np.ndarray, " rows"], Float[np.ndarray, "rows features"], Float[np.ndarray, " features"]]:
    """How many of the drawn images are classified right under each row, and sums of distances over all of them.

    Those of their features from those of the neutral row, and those of two images, each and the one drawn before it.
    """
    right, moved, apart = [], [], []
    neutral = transformation.neutral_rows(1)[0]
    chunks = min(len(drawn), -(-len(drawn) * readout.side**2 // BATCH_PIXELS))
    pairs = zip(np.array_split(drawn, chunks), np.array_split(np.roll(drawn, 1), chunks), strict=True)
    with track(total=len(drawn) * len(rows), unit="images", label="invariance") as progress, features.exact_inference():
        for chunk, previous in pairs:
            images, others = (pixels_of(labeled, numbers, readout.compute) for numbers in (chunk, previous))
            labels = torch.from_numpy(labeled.labels[chunk]).to(readout.compute.device)
            before, as_before = readout.classify(crop(images, neutral, pixels=pixels))
            apart.append(distances(before, readout.classify(crop(others, neutral, pixels=pixels))[0]))
            for row in rows:
                # every curve has the neutral magnitude, which needs no features of its own
                after, predicted = (
                    (before, as_before)
                    if torch.equal(row, neutral)
                    else readout.classify(crop(images, row, pixels=pixels))
                )
                moved.append(distances(before, after))
                right.append(int((predicted == labels).sum()))
                progress.advance(len(chunk))
    per_chunk = (chunks, len(rows))
    return np.reshape(right, per_chunk).sum(0), np.reshape(moved, (*per_chunk, -1)).sum(0), np.sum(apart, axis=0)


def pixels_of(labeled: Labeled, numbers: Int64[np.ndarray, " n"], compute: Compute) -> Float[Tensor, "n 3 h w"]:
    """Images (0..1) on the device."""
    return torch.from_numpy(np.array(labeled.images[numbers])).to(compute.device).float() / 255


def distances(some: Sequence[Float[Tensor, "b ..."]], others: Sequence[Float[Tensor, "b ..."]]) -> list[float]:
    """Euclidean distances of two images' features, summed over the batch: of every layer, and of the pooled ones."""
    return [float(length(one - other).sum()) for one, other in zip(some, others, strict=True)]


def steps(table: pd.DataFrame) -> Iterator[tuple[int, dict[str, float]]]:
    """What a tracker shows: a curve per transformation and column; a step is the index of a magnitude in its list."""
    for name, curve in table.groupby("transformation", sort=False):
        for index, values in enumerate(curve.drop(columns="transformation").to_dict("records")):
            yield index, {f"{name}.{column}": value for column, value in values.items()}


def save(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
