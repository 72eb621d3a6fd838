"""What a method of exemplar/methods gets, what it gives back, and the record of each epoch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet

FEWEST_ROWS = 8  # of a task's batch: what batch normalisation and a head need to see together


@dataclass(frozen=True)
class Settings:
    """The numbers of a training; they come from this section of params.yaml.

    `new_samples` says whether every epoch sees the next share of the set and not all of it. `negatives` is how many
    classes the exemplar task draws in a step to stand for all that are not in its batch; None: all take part.
    `stated_batch` is the batch_size of params.yaml where that of a step is another, because the encoder runs more or
    less than once for a row.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    section: str = "train"
    negatives: int | None = None
    new_samples: bool = False
    stated_batch: int | None = None

    def share(self, rows: int) -> int:
        """How many of so many rows an epoch sees."""
        return rows // self.epochs if self.new_samples else rows


@dataclass(frozen=True)
class TrainInputs:
    """What a method gets, to make an encoder from.

    `mean` is the per-pixel mean of all samples (0..1), `images` are the unlabeled ones that the seeds were cut from,
    and `options` the method's own section of params.yaml, checked. A training goes on from the file `checkpoint` where
    it exists.
    """

    architecture: Architecture
    surrogate: SurrogateSet
    mean: Float[Tensor, "3 32 32"]
    images: UInt8[np.ndarray, "m 3 h w"]
    options: Any
    settings: Settings
    recipe: str
    random_seed: int
    compute: Compute
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured: mean loss, mean score, the rate of work, and `further` means that the task tells.

    The score is an accuracy where the task is to classify, else a skill: 1 - loss / loss of the best constant answer.
    It is that of the rows as they were trained on or, where a step sees a part of the classes, of some of them after
    the epoch, among all classes; `held_out_score` that of rows which are never trained on, after the
    epoch, where there are any. `chance` is the score of an answer that looks at nothing. `encoder_passes` counts how
    often the encoder ran, forward and backward: what an epoch costs.
    """

    epoch: int
    loss: float
    score: float
    held_out_score: float | None
    chance: float
    learning_rate: float
    encoder_passes: int
    samples_per_second: float
    further: Mapping[str, float] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """The record without its number, which is a step in a curve, and without what was not measured."""
        own = {name: value for name, value in asdict(self).items() if name not in ("epoch", "further")}
        return {name: value for name, value in own.items() if value is not None} | dict(self.further)


@dataclass(frozen=True)
class Fitting:
    """A training that takes place while `epochs` are drawn; when there are no more, `finish` gives the encoder.

    `examples` then shows what was asked and what the network answers, if the method has pictures for that.
    """

    epochs: Iterator[Epoch]
    finish: Callable[[], Encoder | Pixels]
    examples: Callable[[], list[Examples]] = list
