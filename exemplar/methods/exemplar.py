"""Exemplar-CNN: which of many patches is this, shifted, turned, zoomed, recoloured (Dosovitskiy et al., section 2)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from exemplar.datasets.streams import torch_seed, torch_stream
from exemplar.io.examples import Examples
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.surrogate.transformation import neutral_rows
from exemplar.training import loop
from exemplar.training.classifier import draw_classifier
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.fast import draw_fast
from exemplar.training.learner import ClassLearner
from exemplar.training.pictures import in_columns, shown
from exemplar.training.sampled import Sampled

RECIPES = {"release": draw_classifier, "fast": draw_fast}  # `train.recipe` in params.yaml


def untrained(inputs: TrainInputs) -> ClassLearner | Sampled:
    """An untrained network with all classes of the set; the heads have places for fewer where they are drawn."""
    classes, negatives = int(inputs.surrogate.label.max()) + 1, inputs.settings.negatives
    generator, draw_network = torch_stream(inputs.random_seed, "weights"), RECIPES[inputs.recipe]
    if negatives is None or negatives >= classes:
        return draw_network(inputs.architecture, classes, mean=inputs.mean, generator=generator)
    places = negatives + inputs.settings.batch_size
    network = draw_network(inputs.architecture, places, mean=inputs.mean, generator=generator)
    key = torch_seed(inputs.random_seed, "negatives")
    return Sampled(
        network,
        classes,
        negatives=negatives,
        key=key,
        generator=generator,
        device=inputs.compute.device,
        checkpoint=inputs.checkpoint,
    )


def examples(model: ClassLearner | Sampled, data: SurrogateSet, batch: Batch) -> list[Examples]:
    """Samples, the seeds of their classes, and those of the classes that the network takes them for."""
    samples, targets = batch
    answers = model.answered(samples)
    seeds, answered = (data.transform(classes.cpu(), neutral_rows(len(classes))) for classes in (targets, answers))
    words = ["right" if right else "wrong" for right in (answers == targets).tolist()]
    return in_columns("exemplar", {"shown": samples, "the answer": answered, "its seed": seeds}, {"the answer": words})


def fit_classes(inputs: TrainInputs, name: str, draw: Callable[[Any, SurrogateSet, Batch], list[Examples]]) -> Fitting:
    """Train on the classes of the surrogate set, under a name; `draw` makes the examples."""
    model = untrained(inputs)
    epochs = loop.fit(
        model,
        inputs.surrogate,
        inputs.settings,
        compute=inputs.compute,
        random_seed=inputs.random_seed,
        label=name,
        checkpoint=inputs.checkpoint,
    )
    draw_examples = partial(draw, model, inputs.surrogate)
    return Fitting(epochs, model.finish, lambda: shown(model, inputs.surrogate, inputs.compute, draw_examples))


def fit(inputs: TrainInputs) -> Fitting:
    """Train on the surrogate set."""
    return fit_classes(inputs, "exemplar", examples)
