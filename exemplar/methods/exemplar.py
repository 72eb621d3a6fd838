"""Exemplar-CNN: learn to tell the surrogate classes apart, keep the encoder (Dosovitskiy et al., section 2)."""

from collections.abc import Iterator

import torch

from exemplar.models.initial import draw_encoder, draw_head
from exemplar.models.network import Encoder
from exemplar.training import loop
from exemplar.training.state import Classifier, Epoch, TrainInputs


def fit(inputs: TrainInputs) -> tuple[Encoder, Iterator[Epoch]]:
    """An encoder, and the epochs in which it learns as they are drawn from the iterator."""
    generator = torch.Generator().manual_seed(inputs.random_seed)
    encoder = draw_encoder(inputs.architecture, mean=inputs.mean, generator=generator)
    head = draw_head(encoder.width, len(inputs.surrogate.table), generator=generator)
    epochs = loop.fit(
        Classifier(encoder, head),
        inputs.surrogate,
        inputs.settings,
        compute=inputs.compute,
        random_seed=inputs.random_seed,
        label="exemplar",
        checkpoint=inputs.checkpoint,
    )
    return encoder, epochs
