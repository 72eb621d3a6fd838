"""Small trainings that several tests run: a network, its loop, and what is compared afterwards."""

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder, draw_head
from exemplar.params.load import load_yaml
from exemplar.params.options import load_options
from exemplar.runtime.device import Compute
from exemplar.surrogate.patches import Patches
from exemplar.surrogate.sets import SurrogateSet, measure_mean
from exemplar.training.classifier import Classifier, draw_classifier
from exemplar.training.contract import Epoch, Fitting, Settings, TrainInputs
from exemplar.training.fast import draw_fast
from exemplar.training.learner import Learner
from exemplar.training.loop import fit
from exemplar.training.sampled import Sampled

MODEL = "4c5-4c5-8f"
DRAW = {"release": draw_classifier, "fast": draw_fast}
PUBLISHED = load_yaml(Path(__file__).parents[1] / "params.yaml")["tasks"]
# Coloured squares under noise: there is something to see at every scale.
COARSE = np.random.default_rng(0).integers(0, 200, (40, 3, 6, 6)).repeat(8, 2).repeat(8, 3)
PICTURES = (COARSE + np.random.default_rng(1).integers(0, 56, COARSE.shape)).astype(np.uint8)
SETTINGS = Settings(epochs=4, batch_size=16, learning_rate=0.1, momentum=0.9, weight_decay=0.004)


def classifier(data: SurrogateSet, *, random_seed: int = 0) -> Classifier:
    """A small untrained network, the same for the same random seed."""
    generator = torch.Generator().manual_seed(random_seed)
    mean = measure_mean(data, device=torch.device("cpu"))
    encoder = draw_encoder(parse("8c5-8c5-16f"), mean=mean, generator=generator)
    return Classifier(encoder, draw_head(encoder.width, len(data.label), generator=generator))


def sampled(
    data: SurrogateSet,
    *,
    recipe: str = "release",
    negatives: int = 2,
    batch_size: int = 16,
    checkpoint: Path | None = None,
) -> Sampled:
    """The same for either recipe, with so many classes drawn in a step, and all of them where so many are."""
    generator, mean = torch.Generator().manual_seed(0), measure_mean(data, device=torch.device("cpu"))
    network = DRAW[recipe](parse(MODEL), negatives + batch_size, mean=mean, generator=generator)
    return Sampled(
        network,
        len(data.label),
        negatives=negatives,
        key=9,
        generator=generator,
        compute=Compute(torch.device("cpu"), torch.float32),
        checkpoint=checkpoint,
    )


def training(
    method: Learner, data: SurrogateSet, compute: Compute, settings: Settings = SETTINGS, **more: Path | None
) -> Iterator[Epoch]:
    """A training whose name and random seed do not matter."""
    return fit(method, data, settings, compute=compute, random_seed=5, label="test", **more)


def same_weights(one: Learner, other: Learner) -> bool:
    """Whether two networks are equal bit for bit, with the rows that lie outside of them."""
    weights = ([*each.state_dict().values(), *(table.rows for table in each.tables)] for each in (one, other))
    return all(torch.equal(*pair) for pair in zip(*weights, strict=True))


def timeless(epochs: list[Epoch]) -> list[Epoch]:
    """Records without what depends on the machine's mood."""
    return [replace(epoch, samples_per_second=0.0) for epoch in epochs]


def score_of_others(network: Learner, rows: Patches, others: Patches) -> float:
    """The mean score on rows that it has not seen, after each of `rows` was learnt once, eight at a time."""
    steps = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for indices in torch.arange(len(rows)).split(8):
        steps.zero_grad()
        network(rows.render(indices)).loss.backward()
        steps.step()
    with torch.no_grad():
        return float(network.eval()(others.render(torch.arange(len(others)))).score) / len(others)


def begun(
    name: str,
    data: SurrogateSet,
    compute: Compute,
    *,
    checkpoint: Path | None = None,
    random_seed: int = 0,
    recipe: str = "fast",
    images: np.ndarray = PICTURES,
    options: dict[str, object] | None = None,
) -> Fitting:
    """A training of a method, with the published options, that has not begun."""
    fitting: Fitting = import_module(f"exemplar.methods.{name}").fit(
        TrainInputs(
            architecture=parse(MODEL),
            surrogate=data,
            mean=measure_mean(data, device=torch.device("cpu")),
            images=images,
            options=load_options(name, PUBLISHED[name] if options is None else options),
            settings=Settings(epochs=2, batch_size=32, learning_rate=0.1, momentum=0.9, weight_decay=0.004),
            recipe=recipe,
            compute=compute,
            random_seed=random_seed,
            checkpoint=checkpoint,
        )
    )
    return fitting
