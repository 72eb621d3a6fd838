"""A network as two of half its width: how its layers are halved, and how the trained halves become one again."""

from dataclasses import replace

import torch
from torch.nn import functional

from exemplar.errors import UserError
from exemplar.models.architecture import Architecture, Conv, Layer, to_string
from exemplar.models.network import Encoder


def halved(architecture: Architecture) -> Architecture:
    """The same layers at half their width. Raises UserError for an odd one."""
    return tuple(half(layer, to_string(architecture)) for layer in architecture)


def half(layer: Layer, model: str) -> Layer:
    """A layer with half of its filters or units."""
    name = "filters" if isinstance(layer, Conv) else "units"
    width = getattr(layer, name)
    if width % 2:
        even = replace(layer, **{name: width + 1})
        raise UserError(
            f"model {model!r}: {str(layer)!r} is odd, and split_brain gives half of each layer to either half; "
            f"use an even number of {name}, such as {even}"
        )
    return replace(layer, **{name: width // 2})


@torch.no_grad()
def merged(first: Encoder, second: Encoder, architecture: Architecture) -> Encoder:
    """One encoder whose maps are those of two, the first's before the second's: its weights are block-diagonal."""
    whole = Encoder(architecture, mean=first.mean)
    for layer, one, other in zip(whole.convolutions(), first.convolutions(), second.convolutions(), strict=True):
        more = 0 if layer is whole.layers[0] else one.in_channels  # both first layers read the same picture
        before = functional.pad(other.weight, (0, 0, 0, 0, more, 0))
        behind = functional.pad(one.weight, (0, 0, 0, 0, 0, more))
        layer.weight.copy_(torch.cat([behind, before]))
        assert layer.bias is not None
        assert one.bias is not None
        assert other.bias is not None
        layer.bias.copy_(torch.cat([one.bias, other.bias]))
    return whole
