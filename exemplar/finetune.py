"""Encoder + labels -> classifier, trained on transformed patches of the labeled images and tested by its own softmax.

From random filters it is the supervised baseline. The labeled images take the place of the seeds' windows: each gives
squares at random places and scales, smoothed as seeds are where they are wider than 32 pixels; they get rows of the
same transformation table, and classes are the labels.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from exemplar.datasets.base import PATCH_PIXELS, Labeled
from exemplar.datasets.evaluation import Measurement, measure_accuracy
from exemplar.errors import UserError
from exemplar.io.atomic import remove
from exemplar.io.unfinished import cached_result
from exemplar.models.images import BATCH_PIXELS, resize
from exemplar.models.initial import draw_head
from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.device import Compute
from exemplar.runtime.progress import track
from exemplar.surrogate import build, sets
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Epoch, Settings
from exemplar.training.loop import fit

LSUV_SAMPLES, SMALLEST_RMS = 256, 1e-6


@dataclass(frozen=True)
class Finetune:
    """Training on each fold's labeled images: how (`finetune` in params.yaml), and the transformations' ranges."""

    crops_per_image: int
    scales: tuple[float, ...]
    schedule: Settings
    ranges: Ranges

    @classmethod
    def of(cls, section: Mapping[str, Any], *, ranges: Ranges) -> "Finetune":
        """The readout that the section `finetune` of params.yaml describes; `ranges` are those of `transformation`."""
        own = {name: section[name] for name in ("crops_per_image", "scales")}
        rest = {name: value for name, value in section.items() if name not in own}
        return cls(**own, schedule=Settings(**rest, section="finetune"), ranges=ranges)

    def measure(
        self,
        encoder: Encoder | Pixels,
        labeled: Labeled,
        *,
        random_seed: int,
        compute: Compute,
        unfinished: Path | None = None,
    ) -> Measurement:
        """Accuracy of the network trained on each fold's labeled images, and the learning curve of each fold.

        Finished folds and the checkpoint of the one at work are kept in the folder `unfinished`.
        """
        if not isinstance(encoder, Encoder):
            raise UserError("raw pixels have no weights to fine-tune; expected an encoder with layers")
        predictions, curves = [], []
        for fold in range(len(labeled.test)):
            # A folder of its own: whatever a checkpoint leaves beside itself belongs to this fold.
            place = unfinished / f"fold-{fold + 1}" if unfinished else None
            work = partial(self.measure_fold, encoder, labeled, fold, compute=compute, place=place)
            curve, predicted = cached_result(
                unfinished, f"fold-{fold + 1}", partial(work, random_seed=random_seed + fold)
            )
            curves.append(curve)
            predictions.append(np.array(predicted))
            if place:
                remove(place)
        return measure_accuracy(labeled, predictions, curves=curves)

    def measure_fold(
        self,
        encoder: Encoder,
        labeled: Labeled,
        fold: int,
        *,
        random_seed: int,
        compute: Compute,
        place: Path | None = None,
    ) -> tuple[list[dict[str, float]], Int64[np.ndarray, " t"]]:
        """The learning curve of one fold, and the classes that its test images were taken for."""
        classifier, epochs = self.fit_fold(
            encoder, labeled, fold, random_seed=random_seed, compute=compute, place=place
        )
        predicted = classify(classifier, labeled.images[labeled.test[fold]], scales=self.scales, compute=compute)
        return [epoch.numbers() for epoch in epochs], predicted

    def fit_fold(
        self,
        encoder: Encoder,
        labeled: Labeled,
        fold: int,
        *,
        random_seed: int,
        compute: Compute,
        place: Path | None = None,
    ) -> tuple[Classifier, list[Epoch]]:
        """Train on one fold's labeled images, and return the classifier with its learning curve."""
        train = labeled.train[fold]
        samples = labeled_samples(
            labeled.images[train],
            labeled.labels[train],
            crops_per_image=self.crops_per_image,
            scales=self.scales,
            ranges=self.ranges,
            random_seed=random_seed,
        )
        mean = sets.measure_mean(samples, device=compute.device)
        classifier = start(encoder, mean=mean, classes=len(labeled.classes), random_seed=random_seed)
        lsuv_rescale(classifier.encoder, samples)
        epochs = fit(
            classifier,
            samples,
            self.schedule,
            compute=compute,
            random_seed=random_seed,
            label=f"fold {fold + 1}",
            checkpoint=place / "state.pt" if place else None,
        )
        return classifier, list(epochs)


def draw_squares(
    count: int, *, image_size: tuple[int, int], scales: tuple[float, ...], generator: torch.Generator
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Centres (x, y) and sides of squares at random places of an image of (width, height), 32 / scale pixels wide."""
    side = PATCH_PIXELS / torch.tensor(scales)[torch.randint(len(scales), (count,), generator=generator)]
    side = side.clamp_max(min(image_size))
    room = torch.tensor(image_size) - side[:, None]
    return side[:, None] / 2 + room * torch.rand(count, 2, generator=generator), side


def labeled_samples(
    images: UInt8[np.ndarray, "m 3 h w"],
    labels: Int64[np.ndarray, " m"],
    *,
    crops_per_image: int,
    scales: tuple[float, ...],
    ranges: Ranges,
    random_seed: int,
) -> SurrogateSet:
    """A set whose classes are labels: `crops_per_image` transformed squares of every labeled image."""
    generator = torch.Generator().manual_seed(random_seed)
    image = torch.arange(len(images)).repeat_interleave(crops_per_image)
    size = (images.shape[3], images.shape[2])
    centre, side = draw_squares(len(image), image_size=size, scales=scales, generator=generator)
    table, _ = build.draw_table(centre=centre, side=side, size=size, samples=1, ranges=ranges, generator=generator)
    sides, group = np.unique(side.numpy(), return_inverse=True)
    windows = torch.cat([smoothed(images, ratio=width / PATCH_PIXELS) for width in sides.tolist()])
    basis, colour_mean = build.principal_components(windows)
    return SurrogateSet(
        windows=windows,
        window_index=torch.from_numpy(group) * len(images) + image,
        label=torch.from_numpy(labels)[image],
        centre=centre,
        side=side,
        table=table,
        basis=basis,
        colour_mean=colour_mean,
    )


def smoothed(images: UInt8[np.ndarray, "m 3 h w"], *, ratio: float) -> UInt8[Tensor, "m 3 h w"]:
    """The images without the detail that squares `ratio` times as wide as 32 pixels would alias."""
    return torch.from_numpy(np.stack([build.smooth_window(image, ratio) for image in images]))


def start(encoder: Encoder, *, mean: Float[Tensor, "3 32 32"], classes: int, random_seed: int) -> Classifier:
    """A classifier that begins with a copy of the encoder, the mean of the new patches and an untrained head."""
    copied = copy.deepcopy(encoder)
    copied.mean.copy_(mean)
    head = draw_head(copied.width, classes, generator=torch.Generator().manual_seed(random_seed))
    return Classifier(copied, head)


def lsuv_rescale(encoder: Encoder, samples: SurrogateSet) -> None:
    """Scale each layer, in place, so that the mean square of its map over some samples is 1.

    Rectifiers and pooling pass a positive factor on, so that every feature stays what it is but for its scale. The
    release's small random weights would need more samples to grow than a few labeled images give (docs/log.md).
    """
    spread = torch.linspace(0, len(samples) - 1, LSUV_SAMPLES).long()
    with torch.no_grad():
        maps, before = encoder.feature_maps(samples.render(spread)[0]), 1.0
        for layer, after in zip(encoder.layers, maps, strict=True):
            factor = 1 / max(float(after.square().mean().sqrt()), SMALLEST_RMS)
            weights, biases = layer.parameters()
            weights.mul_(factor / before)
            biases.mul_(factor)
            before = factor


def classify(
    classifier: Classifier,
    images: UInt8[np.ndarray, "n 3 h w"],
    *,
    scales: tuple[float, ...],
    compute: Compute,
) -> Int64[np.ndarray, " n"]:
    """The class with the greatest softmax, averaged over all places of the sliding network and over the scales."""
    classifier.eval()
    sides = sorted({max(PATCH_PIXELS, round(images.shape[2] * scale)) for scale in scales})
    batch = max(1, BATCH_PIXELS // sides[-1] ** 2)
    predicted = []
    with track(total=len(images), unit="images", label="test") as progress, torch.inference_mode():
        for begin in range(0, len(images), batch):
            chunk = torch.from_numpy(np.array(images[begin : begin + batch])).to(compute.device).float() / 255
            votes = torch.stack([probabilities(classifier, resize(chunk, side), compute=compute) for side in sides])
            predicted.append(votes.sum(0).argmax(1).cpu())
            progress.advance(len(chunk))
    return torch.cat(predicted).numpy()


def probabilities(
    classifier: Classifier, images: Float[Tensor, "b 3 h w"], *, compute: Compute
) -> Float[Tensor, "b k"]:
    """The softmax of each image, averaged over all places where the 32 x 32 network fits."""
    with compute.autocast():
        scores = classifier.head(classifier.encoder(images.contiguous(memory_format=torch.channels_last)))
    return functional.softmax(scores.float(), 1).mean((2, 3))
