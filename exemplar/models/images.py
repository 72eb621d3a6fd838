"""Images as a network takes them: of a side, and so many at once that the maps stay small."""

from jaxtyping import Float
from torch import Tensor

BATCH_PIXELS = 8 * 96 * 96  # the widest maps then stay below the blocks that runtime/device.py keeps


def resize(images: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 s s"]:
    """Images of `side` pixels; bicubic, as the release enlarges CIFAR's."""
    if images.shape[2:] == (side, side):
        return images
    from torchvision.transforms.v2 import InterpolationMode, functional  # 1.5 s of start-up that few stages need

    resized: Tensor = functional.resize(images, [side, side], InterpolationMode.BICUBIC, antialias=True)
    return resized.clamp(0, 1)
