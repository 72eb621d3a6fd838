"""Exemplar-CNN: learn to tell the surrogate classes apart, keep the encoder (Dosovitskiy et al., section 2)."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from exemplar import training
from exemplar.architecture import Architecture
from exemplar.device import Compute
from exemplar.network import Encoder, draw_encoder, draw_head
from exemplar.surrogate import SurrogateSet

READOUT = "probe"


def fit(
    architecture: Architecture,
    surrogate: SurrogateSet,
    *,
    mean: Float[Tensor, "3 32 32"],
    settings: training.Settings,
    compute: Compute,
    random_seed: int,
    checkpoint: Path | None,
) -> tuple[Encoder, Iterator[training.Epoch]]:
    """An encoder, and the epochs in which it learns as they are drawn from the iterator."""
    generator = torch.Generator().manual_seed(random_seed)
    encoder = draw_encoder(architecture, mean=mean, generator=generator)
    head = draw_head(encoder.width, len(surrogate.table), generator=generator)
    epochs = training.fit(
        training.Classifier(encoder, head),
        surrogate,
        settings,
        compute=compute,
        random_seed=random_seed,
        label="exemplar",
        checkpoint=checkpoint,
    )
    return encoder, epochs
