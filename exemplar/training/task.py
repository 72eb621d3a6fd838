"""A pretext task on patches of unlabeled images: how it is drawn, trained, and what its encoder is in the end.

A task is a file of exemplar/methods with three names: `draw` makes its rows, `PASSES` is how often the encoder runs for
one of them (`passes` where that depends on the images), and `build` makes the network that learns them.
"""

import warnings
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from exemplar.datasets.streams import torch_stream
from exemplar.errors import UserError
from exemplar.models.architecture import Architecture
from exemplar.surrogate.patches import Patches, mean_colour
from exemplar.training import loop
from exemplar.training.contract import FEWEST_ROWS, Fitting, TrainInputs
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.pictures import shown

HELD_OUT = 20  # of 20 images one is never trained on
MOST_HELD_OUT = 2000  # rows
MOST_ROWS = 200_000_000  # of a table, which takes some tens of bytes a row
SMALLEST_LOSS = 1e-12
Options: TypeAlias = Any  # a task's own section of params.yaml, as its file defines it


@runtime_checkable
class Build(Protocol):
    """Makes the untrained network of a task; `mean` is the mean colour of its patches, `data` the rows to be learnt."""

    def __call__(
        self,
        architecture: Architecture,
        data: Patches,
        options: Options,
        *,
        mean: Float[Tensor, "3 32 32"],
        generator: torch.Generator,
    ) -> NormalizedLearner:
        """The untrained network."""
        ...


@runtime_checkable
class Draw(Protocol):
    """Draws rows out of images; the only place where a task throws dice."""

    def __call__(
        self, images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator
    ) -> Patches:
        """So many rows."""
        ...


def fit_task(inputs: TrainInputs, *, name: str, draw: Draw, build: Build, passes: int | float) -> Fitting:
    """Train a task with as many encoder passes as the exemplar task has samples, so that rows cost the same.

    Every epoch sees rows of its own. A twentieth of the images is kept out, for the score on what was never trained on.
    """
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
    seed, settings = inputs.random_seed, inputs.settings
    count = max(int(len(inputs.surrogate) / passes), 1)
    if count * settings.epochs > MOST_ROWS:
        raise UserError(
            f"{name}: {count * settings.epochs:,} rows are drawn before the training; expected at most {MOST_ROWS:,}: "
            "lower seeds.count, surrogate.samples or train.epochs"
        )
    if len(inputs.images) < 2:
        raise UserError(f"{name}: one unlabeled image is too few to learn from; expected two or more")
    kept = len(inputs.images) - max(len(inputs.images) // HELD_OUT, 1)
    data = draw(
        inputs.images[:kept], inputs.options, count=count * settings.epochs, generator=torch_stream(seed, name, 0)
    )
    unseen = draw(
        inputs.images[kept:],
        inputs.options,
        count=min(max(count // HELD_OUT, 1), MOST_HELD_OUT),
        generator=torch_stream(seed, name, 1),
    )
    data = replace(data, held_out=unseen)
    generator = torch_stream(seed, "weights")
    model = build(inputs.architecture, data, inputs.options, mean=mean_colour(data), generator=generator)
    model.passes = passes
    rows = max(int(settings.batch_size / passes), FEWEST_ROWS)
    epochs = loop.fit(
        model,
        data,
        replace(settings, batch_size=rows, stated_batch=settings.batch_size, new_samples=True),
        compute=inputs.compute,
        random_seed=seed,
        label=name,
        checkpoint=inputs.checkpoint,
    )
    draw_examples = partial(model.examples, name)
    return Fitting(epochs, model.finish, lambda: shown(model, data, inputs.compute, draw_examples))


def require_side(images: UInt8[np.ndarray, "m 3 h w"], smallest: int, *, name: str, what: str) -> None:
    """Raise UserError for images that are too small for what a task cuts out of them."""
    height, width = images.shape[2:]
    if min(height, width) < smallest:
        raise UserError(
            f"{name}: the unlabeled images have {width} x {height} pixels, too few for {what}; expected {smallest} or "
            f"more on each side: take larger images, or take {name} out of methods"
        )


def skill(loss: Float[Tensor, " b"], constant: float | Tensor) -> Float[Tensor, ""]:
    """The sum over rows of 1 - loss / loss of the best constant answer: 1 is perfect, 0 knows nothing."""
    least = constant.clamp_min(SMALLEST_LOSS) if isinstance(constant, Tensor) else max(constant, SMALLEST_LOSS)
    return (1 - loss.detach().float() / least).sum()
