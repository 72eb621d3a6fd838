"""Labeled images -> a set of samples whose classes are labels, and what a network needs before it trains on them."""

import copy
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.optim import Optimizer

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.models.initial import draw_head
from exemplar.models.network import Encoder
from exemplar.surrogate import build
from exemplar.surrogate.counters import uniforms
from exemplar.surrogate.draws import Draws
from exemplar.surrogate.ranges import Ranges, geometry_alone
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.classifier import Classifier, sgd
from exemplar.training.contract import Settings

AUGMENTATIONS = ("none", "geometry", "geometry_and_colour")
STATISTICS_SAMPLES, SMALLEST_RMS = 512, 1e-6
WARM_UP = 0.15


class LabelClassifier(Classifier):
    """A network that learns labels: one rate and one decay for all its weights, and a rate that rises and falls.

    The release's multipliers and steps were made for a head of 16,000 surrogate classes and for days of training.
    """

    def optimizer(self, settings: Settings) -> Optimizer:
        """SGD with momentum; biases do not decay."""
        modules: list[nn.Module] = [*self.encoder.layers, self.head.scores]
        rate = settings.learning_rate
        groups = [
            {"params": [module.weight for module in modules], "lr": rate, "weight_decay": settings.weight_decay},
            {"params": [module.bias for module in modules], "lr": rate, "weight_decay": 0.0},
        ]
        return sgd(groups, momentum=settings.momentum)

    def rate_factor(self, progress: float) -> float:
        """From near 0 to 1 in the first 15 % of all steps, and back to near 0 in a straight line."""
        rising, falling = progress / WARM_UP, (1 - progress) / (1 - WARM_UP)
        return max(min(rising, falling), 0.01)


def limited(ranges: Ranges, augmentation: str) -> Ranges:
    """The ranges of one of AUGMENTATIONS: the others are neutral."""
    if augmentation == "geometry_and_colour":
        return ranges
    geometry = geometry_alone(ranges)
    if augmentation == "geometry":
        return geometry
    return replace(geometry, shift_fraction=(0.0, 0.0), scale_factor=(1.0, 1.0), angle_degrees=(0.0, 0.0))


def draw_squares(
    count: int, *, image_size: tuple[int, int], scales: tuple[float, ...], key: int
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Centres (x, y) and sides of squares at random places of an image of (width, height), 32 / scale pixels wide."""
    dice = uniforms(key, -1 - torch.arange(count), 3)  # rows of samples have no number below 0
    side = PATCH_PIXELS / torch.tensor(scales)[(dice[:, 0] * len(scales)).long()]
    side = side.clamp_max(min(image_size))
    room = torch.tensor(image_size) - side[:, None]
    return side[:, None] / 2 + room * dice[:, 1:], side


def labeled_samples(
    images: UInt8[np.ndarray, "m 3 h w"],
    labels: Int64[np.ndarray, " m"],
    *,
    crops_per_image: int,
    epochs: int,
    scales: tuple[float, ...],
    ranges: Ranges,
    key: int,
) -> SurrogateSet:
    """A set whose classes are labels: for each epoch in turn, `crops_per_image` transformed squares of every image."""
    image = torch.arange(len(images)).repeat_interleave(crops_per_image).repeat(epochs)
    size = (images.shape[3], images.shape[2])
    centre, side = draw_squares(len(image), image_size=size, scales=scales, key=key)
    sides, group = np.unique(side.numpy(), return_inverse=True)
    windows = torch.cat([smoothed(images, ratio=width / PATCH_PIXELS) for width in sides.tolist()])
    basis, colour_mean = build.principal_components(windows)
    return SurrogateSet(
        windows=windows,
        window_index=torch.from_numpy(group) * len(images) + image,
        label=torch.from_numpy(labels)[image],
        centre=centre,
        side=side,
        basis=basis,
        colour_mean=colour_mean,
        draws=Draws(key, 1, ranges),
        held_out=0,
    )


def smoothed(images: UInt8[np.ndarray, "m 3 h w"], *, ratio: float) -> UInt8[Tensor, "m 3 h w"]:
    """The images without the detail that squares `ratio` times as wide as 32 pixels would alias."""
    return torch.from_numpy(np.stack([build.smooth_window(image, ratio) for image in images]))


def some_patches(samples: SurrogateSet) -> Float[Tensor, "n 3 32 32"]:
    """At most 512 samples, spread evenly over the set: enough for a mean and for mean squares."""
    count = min(len(samples), STATISTICS_SAMPLES)
    return samples.render(torch.linspace(0, len(samples) - 1, count).long())[0]


def start(
    encoder: Encoder, patches: Float[Tensor, "n 3 32 32"], *, classes: int, generator: torch.Generator
) -> LabelClassifier:
    """A classifier that begins with a rescaled copy of the encoder, the mean of new patches and an untrained head."""
    copied = copy.deepcopy(encoder)
    copied.mean.copy_(patches.mean(0))
    lsuv_rescale(copied, patches)
    return LabelClassifier(copied, draw_head(copied.width, classes, generator=generator))


def lsuv_rescale(encoder: Encoder, patches: Float[Tensor, "n 3 32 32"]) -> None:
    """Scale each layer, in place, so that the mean square of its map over some patches is 1 (Mishkin and Matas 2016).

    Rectifiers and pooling pass a positive factor on, so that every feature stays what it is but for its scale. The
    release's small random weights would need more samples to grow than a few labeled images give (docs/log.md).
    """
    with torch.no_grad():
        maps, before = encoder.feature_maps(patches), 1.0
        for layer, after in zip(encoder.layers, maps, strict=True):
            factor = 1 / max(float(after.square().mean().sqrt()), SMALLEST_RMS)
            weights, biases = layer.parameters()
            weights.mul_(factor / before)
            biases.mul_(factor)
            before = factor
