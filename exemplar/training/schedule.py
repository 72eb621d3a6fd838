"""The release's schedule and multipliers: how fast each layer learns, and how much of it decays (docs/method.md)."""

from typing import Any

from torch import nn

from exemplar.models.architecture import Full
from exemplar.models.head import Head
from exemplar.models.network import Encoder

# (share of all steps after which it holds, factor of the learning rate)
SCHEDULE = ((0.0, 1.0), (10 / 13, 0.4), (11 / 13, 0.1), (12 / 13, 0.04), (12.5 / 13, 0.01))
# Weight decay by layer (later convolutions repeat the last), all relative to the settings.
CONV_DECAY, FULL_DECAY = (0.0, 0.0, 0.25), 1.0
HEAD_DECAY, HEAD_RATE, BIAS_RATE = 4.0, 0.25, 2.0


def rate_factor(progress: float) -> float:
    """The factor of the learning rate after this share of all steps."""
    return [factor for start, factor in SCHEDULE if progress >= start][-1]


def parameter_groups(
    encoder: Encoder, head: Head, *, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Two groups per layer, weights and biases, with the release's multipliers (docs/method.md)."""
    layers: list[tuple[nn.Module, float, float]] = []
    for index, (layer, module) in enumerate(zip(encoder.architecture, encoder.layers, strict=True)):
        decay = FULL_DECAY if isinstance(layer, Full) else CONV_DECAY[min(index, len(CONV_DECAY) - 1)]
        layers.append((module, decay, 1.0))
    layers.append((head.scores, HEAD_DECAY, HEAD_RATE))
    return [
        group
        for module, decay, rate in layers
        for group in (
            {"params": [module.weight], "lr": learning_rate * rate, "weight_decay": weight_decay * decay},
            {"params": [module.bias], "lr": learning_rate * BIAS_RATE, "weight_decay": 0.0},
        )
    ]
