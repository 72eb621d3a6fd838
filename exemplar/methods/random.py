"""Random filters: the same network as it is before any training, the baseline that every pretext task must beat."""

from collections.abc import Iterator

import torch

from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder
from exemplar.training.state import Epoch, TrainInputs


def fit(inputs: TrainInputs) -> tuple[Encoder, Iterator[Epoch]]:
    """The encoder that the exemplar method starts from, and no epochs."""
    generator = torch.Generator().manual_seed(inputs.random_seed)
    return draw_encoder(inputs.architecture, mean=inputs.mean, generator=generator), iter(())
