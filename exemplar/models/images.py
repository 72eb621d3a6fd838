"""Images as a network takes them: of a side, and so many at once that the maps stay small."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.cards import free_on_cuda

BATCH_PIXELS = 8 * 96 * 96  # on the CPU the widest maps then stay below the blocks that runtime/device.py keeps
CUDA_BYTES = 2 << 30  # of a batch and its maps: 256 images of 96 x 96 pixels keep any GPU busy, and take more space
SHARE_OF_FREE = 4  # copies of images and maps take as much again, and cuDNN's kernels need workspace


def images_at_once(encoder: Encoder | Pixels, height: int, width: int, device: torch.device) -> int:
    """How many images of this size a network takes at once on this device; at least 1."""
    if device.type != "cuda":
        return max(1, BATCH_PIXELS // (height * width))
    with torch.inference_mode():
        image = torch.zeros(1, 3, height, width, device=device)
        return fitting([image, *encoder.feature_maps(image)], free_bytes=free_on_cuda(device))


def fitting(tensors: Iterable[Tensor], *, free_bytes: int) -> int:
    """How many images a GPU takes at once if one of them has these tensors; at least 1.

    A power of two, so that memory which others take or give back seldom changes a batch, and with it the rounding.
    """
    most = min(CUDA_BYTES, free_bytes // SHARE_OF_FREE) // sum(tensor.nbytes for tensor in tensors)
    return 1 << max(most, 1).bit_length() - 1


def resize(images: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 s s"]:
    """Images of `side` pixels; bicubic, as the release enlarges CIFAR's.

    The same numbers as torchvision's `resize`, whose import takes 5 seconds that every stage would pay.
    """
    if images.shape[2:] == (side, side):
        return images
    return functional.interpolate(images, [side, side], mode="bicubic", antialias=True).clamp(0, 1)
