"""What the benchmarks work on: images, surrogate sets and features, all of them generated."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from exemplar.surrogate import build
from exemplar.surrogate.ranges import RELEASE
from exemplar.surrogate.seeds import Seeds
from exemplar.surrogate.sets import SurrogateSet

SIDE = 96
SIDES = (32.0, 40.0, 50.0, 62.5)


def draw_images(count: int, *, random_seed: int) -> UInt8[np.ndarray, "n 3 s s"]:
    """Smooth coloured noise with some grain, so that neighbouring pixels are alike as in photographs."""
    generator = torch.Generator().manual_seed(random_seed)
    coarse = torch.rand(count, 3, 12, 12, generator=generator)
    smooth = functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    grain = 0.1 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    return (255 * (0.8 * smooth + grain + 0.05).clamp(0, 1)).byte().numpy()


def surrogate_set(classes: int, samples: int) -> SurrogateSet:
    """Seeds of all sizes in the middle of their images, under the ranges of the release."""
    seeds = Seeds(
        image=np.arange(classes), centre=np.full((classes, 2), SIDE / 2), side=np.resize(np.array(SIDES), classes)
    )
    images = draw_images(classes, random_seed=0)
    built, _ = build.build(images, seeds, samples=samples, ranges=RELEASE, random_seed=0)
    return built


def write_images(path: Path, count: int) -> None:
    """An array file of images, a thousand different ones again and again, each time turned over and shifted."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, SIDE, SIDE))
    block = draw_images(1000, random_seed=1)
    for turn, start in enumerate(range(0, count, len(block))):
        images[start : start + len(block)] = np.roll(block, turn, axis=3)[: count - start]
    images.flush()


def svm_features(
    count: int, width: int, classes: int, *, random_seed: int
) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"]]:
    """Features as pooled rectified maps have them: most above 0, few directions with most of the variance, in 0..1.

    Their Gram matrix falls off as that of a random network's features of CIFAR-10 does.
    """
    generator = torch.Generator().manual_seed(random_seed)
    spread = torch.arange(1, 257) ** -1.0
    labels = torch.randint(classes, (count,), generator=generator)
    latent = torch.randn(classes, 256, generator=generator)[labels] + torch.randn(count, 256, generator=generator)
    features = (latent * spread) @ torch.randn(256, width, generator=generator)
    for rows in torch.split(features, 1000):
        rows.add_(torch.randn(rows.shape, generator=generator), alpha=0.3).add_(2).clamp_min_(0)
    return features.div_(float(features[:1000].quantile(0.9999, dim=1).max())), labels
