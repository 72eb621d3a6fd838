"""An encoder with batch normalisation behind each layer's pooling, as `fast` and every pretext task train it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from exemplar.models.architecture import Architecture
from exemplar.models.network import Encoder
from exemplar.training.batchnorm import BatchNorm, folded


class Trunk(nn.Module):
    """Samples (0..1) -> the pooled and rectified map of each layer; `plain` is the encoder that is kept in the end.

    With `colours`, a matrix, each centred pixel is multiplied by it first: [[0.3, 0.6, 0.1]] * 3 shows the network a
    grey picture.
    """

    colours: Tensor | None

    def __init__(self, encoder: Encoder, *, colours: Float[Tensor, "3 3"] | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("colours", colours)
        self.norms = nn.ModuleList(BatchNorm(layer.out_channels, learns_bias=True) for layer in encoder.convolutions())
        for layer in encoder.convolutions():
            assert layer.bias is not None
            layer.bias.requires_grad_(False)  # batch normalisation takes every constant away

    def seen(self, samples: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """What the first layer gets of samples: centred, in the colours that it is shown."""
        signal = self.encoder.centred(samples.contiguous(memory_format=torch.channels_last))
        if self.colours is None:
            return signal
        with torch.autocast(signal.device.type, enabled=False):  # bfloat16 would leave some of what the matrix takes
            return functional.conv2d(signal, self.colours[:, :, None, None])

    def layers(self, signal: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c g v"]]:
        """The map of each layer, first layer first, of what `seen` gave."""
        maps = []
        for index, (layer, norm) in enumerate(zip(self.encoder.convolutions(), self.norms, strict=True)):
            raw = functional.conv2d(signal, layer.weight, None, layer.stride, layer.padding)
            signal = functional.relu(norm(self.encoder.pooled(raw, index)))
            maps.append(signal)
        return maps

    def forward(self, samples: Float[Tensor, "b 3 32 32"]) -> Float[Tensor, "b d"]:
        """The last layer's vector."""
        return self.layers(self.seen(samples))[-1].flatten(1)

    def plain(self) -> Encoder:
        """An encoder that gives the same features: normalisation and the matrix are folded into its layers."""
        plain = Encoder(self.encoder.architecture, mean=self.encoder.mean.cpu())
        for index, (layer, trained, norm) in enumerate(
            zip(plain.convolutions(), self.encoder.convolutions(), self.norms, strict=True)
        ):
            assert isinstance(norm, BatchNorm)
            weights, biases = folded(trained.weight, norm)
            if index == 0 and self.colours is not None:
                weights = torch.einsum("okhw,kc->ochw", weights, self.colours)
            layer.load_state_dict({"weight": weights, "bias": biases})
        return plain


def draw_trunk(
    architecture: Architecture,
    *,
    mean: Float[Tensor, "3 32 32"],
    generator: torch.Generator,
    colours: Float[Tensor, "3 3"] | None = None,
) -> Trunk:
    """An untrained one, its filters drawn as He et al. (2015) do."""
    encoder = Encoder(architecture, mean=mean)
    with torch.no_grad():
        for layer in encoder.convolutions():
            layer.weight.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=generator)
            assert layer.bias is not None
            layer.bias.zero_()
    return Trunk(encoder, colours=colours)
