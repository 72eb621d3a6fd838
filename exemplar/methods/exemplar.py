"""Exemplar-CNN: learn to tell the surrogate classes apart, keep the encoder (Dosovitskiy et al., section 2)."""

from functools import partial

from exemplar.datasets.streams import torch_stream
from exemplar.io.examples import Examples
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.surrogate.transformation import neutral_rows
from exemplar.training import loop
from exemplar.training.classifier import Classifier, draw_classifier
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.fast import FastClassifier, draw_fast
from exemplar.training.pictures import in_columns, shown

RECIPES = {"release": draw_classifier, "fast": draw_fast}  # `train.recipe` in params.yaml


def examples(model: Classifier | FastClassifier, data: SurrogateSet, batch: Batch) -> list[Examples]:
    """Samples, the seeds of their classes, and those of the classes that the network takes them for."""
    samples, targets = batch
    answers = model.answered(samples)
    seeds, answered = (data.transform(classes.cpu(), neutral_rows(len(classes))) for classes in (targets, answers))
    words = ["right" if right else "wrong" for right in (answers == targets).tolist()]
    return in_columns("exemplar", {"shown": samples, "the answer": answered, "its seed": seeds}, {"the answer": words})


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
    assert isinstance(model, Classifier | FastClassifier)
    draw_examples = partial(examples, model, inputs.surrogate)
    return Fitting(epochs, model.finish, lambda: shown(model, inputs.surrogate, inputs.compute, draw_examples))
