"""Layers -> Encoder: from RGB images to the feature maps of every layer. Pixels: the encoder that does nothing."""

import copy
import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError
from exemplar.models.architecture import POOLED_LAYERS, Architecture, Conv, require_size, to_string


def pool(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c g v"]:
    """The release's max-pooling, 3 x 3 with stride 2, which halves a side and rounds it down."""
    return functional.max_pool2d(maps, 3, 2, ceil_mode=True)


def max_pool_grid(maps: Float[Tensor, "b c h w"], cells: int) -> Float[Tensor, "b d"]:
    """The maximum of every channel in each of `cells` x `cells` windows that cover the map, row by row.

    The windows are the release's: equal, the last ones smaller (17 places in 2 cells: 9 and 8). Where these would be
    fewer than asked for (5, 6 or 9 places in 4 cells: 3), neighbours share a place instead.
    """
    sides = maps.shape[-2:]
    window = (math.ceil(sides[0] / cells), math.ceil(sides[1] / cells))
    if all(math.ceil(side / length) == cells for side, length in zip(sides, window, strict=True)):
        return functional.max_pool2d(maps, window, window, ceil_mode=True).flatten(1)
    return functional.adaptive_max_pool2d(maps, cells).flatten(1)


class Encoder(nn.Module):
    """The network without its softmax layer; images are RGB between 0 and 1.

    For patches of 32 x 32 it yields one vector each. On larger images the fully connected layers slide, so that every
    layer yields a map (paper, section 4.1). `mean` is the per-pixel mean of the patches that it was trained on; images
    of another size lose its average over the pixels instead. A step of one place in the last map is one of
    `total_stride` pixels in the image.
    """

    mean: Tensor

    def __init__(self, architecture: Architecture, *, mean: Float[Tensor, "3 32 32"]) -> None:
        super().__init__()
        require_size(architecture)
        self.architecture = architecture
        self.model = to_string(architecture)
        self.register_buffer("mean", mean.clone())
        self.layers = nn.ModuleList()
        channels, side, convolutions, self.total_stride = 3, PATCH_PIXELS, 0, 1
        for layer in architecture:
            if isinstance(layer, Conv):
                self.layers.append(nn.Conv2d(channels, layer.filters, layer.side, layer.stride, layer.side // 2))
                side, channels, convolutions = -(-side // layer.stride), layer.filters, convolutions + 1
                self.total_stride *= layer.stride
                if convolutions <= POOLED_LAYERS:
                    side, self.total_stride = side // 2, 2 * self.total_stride
            else:
                self.layers.append(nn.Conv2d(channels, layer.units, side))
                side, channels = 1, layer.units
        self.width = channels

    def convolutions(self) -> list[nn.Conv2d]:
        """Every layer as what it is: a convolution, also where it is fully connected on patches."""
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    def centred(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Images without the mean: per pixel for patches of its size, else its average over the pixels."""
        return images - (self.mean if images.shape[1:] == self.mean.shape else self.mean.mean((1, 2), keepdim=True))

    def pooled(self, maps: Float[Tensor, "b c h w"], index: int) -> Float[Tensor, "b c g v"]:
        """The maps of layer `index` as the next layer reads them: pooled behind the first two convolutions."""
        return pool(maps) if index < POOLED_LAYERS and isinstance(self.architecture[index], Conv) else maps

    def raw_maps(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The maps of every layer before its rectifier, which gives the same numbers behind a pooling, and cheaper."""
        signal, maps = self.centred(images), []
        for index, layer in enumerate(self.layers):
            maps.append(layer(signal))
            signal = functional.relu(self.pooled(maps[-1], index))
        return maps

    def feature_maps(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The maps of every layer after its rectifier and before its pooling, first layer first."""
        return [functional.relu(layer) for layer in self.raw_maps(images)]

    def forward(self, patches: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c g v"]:
        """The last layer's map, [b width 1 1] for patches of 32 x 32.

        It rectifies what is left after pooling, which gives the same numbers from a quarter of the work.
        """
        signal = self.centred(patches)
        for index, layer in enumerate(self.layers):
            signal = functional.relu(self.pooled(layer(signal), index), inplace=True)
        return signal

    def extract_features(self, images: Float[Tensor, "b 3 h w"], cells: tuple[int, ...]) -> list[Tensor]:
        """Every layer's map, max-pooled in each grid of `cells`: one tensor [b d] per layer and grid."""
        return [functional.relu(pooled) for pooled in self.pool_maps(self.raw_maps(images), cells)]

    def pool_maps(self, maps: list[Tensor], cells: tuple[int, ...]) -> list[Tensor]:
        """Maps of all layers, max-pooled in each grid of `cells`; raises UserError for a map with fewer places."""
        if min(maps[-1].shape[-2:]) < max(cells):
            raise UserError(
                f"the last layer has {maps[-1].shape[-2]} x {maps[-1].shape[-1]} places for {max(cells)} cells a side: "
                "the images are too small; raise `side` of this dataset under `probe` in params.yaml"
            )
        return [max_pool_grid(layer, count) for layer in maps for count in cells]

    def recentred(self, mean: Float[Tensor, " 3"]) -> "Encoder":
        """A copy for images whose mean colour is `mean`, which it subtracts in place of its own patches' mean."""
        copied = copy.deepcopy(self)
        copied.mean.copy_(mean[:, None, None].expand_as(copied.mean))
        return copied


class Pixels(nn.Module):
    """The encoder that does nothing: its only features are the image itself."""

    model, total_stride = "pixels", 4  # that of a network without strides, which then sees the same crops

    def feature_maps(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The image is its only map."""
        return [images]

    def pool_maps(self, maps: list[Tensor], cells: tuple[int, ...]) -> list[Tensor]:
        """The image as one vector, whatever the grids: there is nothing to pool, and copies of it would add nothing."""
        return [maps[0].flatten(1)]

    def extract_features(self, images: Float[Tensor, "b 3 h w"], cells: tuple[int, ...]) -> list[Tensor]:
        """The image as one vector."""
        return self.pool_maps([images], cells)

    def recentred(self, mean: Float[Tensor, " 3"]) -> "Pixels":
        """Itself: it subtracts nothing."""
        return self
