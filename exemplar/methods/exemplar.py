"""Exemplar-CNN: learn to tell the surrogate classes apart, keep the encoder (Dosovitskiy et al., section 2)."""

from exemplar.datasets.streams import torch_stream
from exemplar.training import loop
from exemplar.training.classifier import draw_classifier
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.fast import draw_fast

RECIPES = {"release": draw_classifier, "fast": draw_fast}  # `train.recipe` in params.yaml


def fit(inputs: TrainInputs) -> Fitting:
    """Train on the surrogate set with a class for every seed."""
    model = RECIPES[inputs.recipe](
        inputs.architecture,
        len(inputs.surrogate.table),
        mean=inputs.mean,
        generator=torch_stream(inputs.random_seed, "weights"),
    )
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
