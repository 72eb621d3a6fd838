"""Images as a network takes them: of a side, and so many at once that the maps stay small."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

BATCH_PIXELS = 8 * 96 * 96  # on the CPU the widest maps then stay below the blocks that runtime/device.py keeps
CUDA_FACTOR = 256  # a GPU's memory is not given back to the system, and small batches leave most of it idle


def images_at_once(pixels: int, device: torch.device) -> int:
    """How many images of so many pixels a network takes at once on this device; at least 1. Never run on CUDA."""
    return max(1, BATCH_PIXELS * (CUDA_FACTOR if device.type == "cuda" else 1) // pixels)


def resize(images: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 s s"]:
    """Images of `side` pixels; bicubic, as the release enlarges CIFAR's.

    The same numbers as torchvision's `resize`, whose import takes 5 seconds that every stage would pay.
    """
    if images.shape[2:] == (side, side):
        return images
    return functional.interpolate(images, [side, side], mode="bicubic", antialias=True).clamp(0, 1)
