"""Untrained networks, their weights drawn as in the authors' release."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from exemplar.models.architecture import Architecture, Full
from exemplar.models.head import Head
from exemplar.models.network import Encoder

# Standard deviations and biases of the release's medium network (docs/method.md); later layers repeat the last one.
CONV_STD = (0.05, 0.02, 0.01)
FULL_STD = 0.01
HEAD_STD = 0.005
BIAS = 0.1


def draw_encoder(architecture: Architecture, *, mean: Float[Tensor, "3 32 32"], generator: torch.Generator) -> Encoder:
    """An untrained encoder, its weights drawn as in the release: Gaussian, the first layers wider, all biases 0.1."""
    encoder = Encoder(architecture, mean=mean)
    for index, (layer, module) in enumerate(zip(architecture, encoder.layers, strict=True)):
        std = FULL_STD if isinstance(layer, Full) else CONV_STD[min(index, len(CONV_STD) - 1)]
        fill(module, std=std, bias=BIAS, generator=generator)
    return encoder


def draw_head(width: int, classes: int, *, generator: torch.Generator) -> Head:
    """An untrained head; its biases are 0."""
    head = Head(width, classes)
    fill(head.scores, std=HEAD_STD, bias=0.0, generator=generator)
    return head


def fill(module: nn.Module, *, std: float, bias: float, generator: torch.Generator) -> None:
    """Gaussian weights and one constant bias."""
    weights, biases = module.weight, module.bias
    assert isinstance(weights, Tensor)
    assert isinstance(biases, Tensor)
    with torch.no_grad():
        weights.normal_(0, std, generator=generator)
        biases.fill_(bias)
