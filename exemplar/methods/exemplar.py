"""Exemplar-CNN: learn to tell the surrogate classes apart, keep the encoder (Dosovitskiy et al., section 2)."""

from exemplar.datasets.streams import torch_stream
from exemplar.models.initial import draw_encoder, draw_head
from exemplar.training import loop
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Fitting, TrainInputs


def fit(inputs: TrainInputs) -> Fitting:
    """Train on the surrogate set with a class for every seed."""
    generator = torch_stream(inputs.random_seed, "weights")
    encoder = draw_encoder(inputs.architecture, mean=inputs.mean, generator=generator)
    model = Classifier(encoder, draw_head(encoder.width, len(inputs.surrogate.table), generator=generator))
    epochs = loop.fit(
        model,
        inputs.surrogate,
        inputs.settings,
        compute=inputs.compute,
        random_seed=inputs.random_seed,
        label="exemplar",
        checkpoint=inputs.checkpoint,
    )
    return Fitting(epochs, model.finish)
