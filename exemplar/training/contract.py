"""What a method of exemplar/methods gets, what it gives back, and the record of each epoch."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from exemplar.models.architecture import Architecture
from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet


@dataclass(frozen=True)
class Settings:
    """The numbers of a training; they come from this section of params.yaml.

    `new_samples` says whether every epoch sees the next share of the set and not all of it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    section: str = "train"
    new_samples: bool = False


@dataclass(frozen=True)
class TrainInputs:
    """What a method gets, to make an encoder from.

    `mean` is the per-pixel mean of all samples (0..1). A training goes on from the file `checkpoint` where it exists.
    """

    architecture: Architecture
    surrogate: SurrogateSet
    mean: Float[Tensor, "3 32 32"]
    settings: Settings
    recipe: str
    random_seed: int
    compute: Compute
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured: mean loss, accuracies between 0 and 1, and the rate of work.

    `accuracy` is that of the samples as they were trained on; `held_out_accuracy` that of samples which are never
    trained on, after the epoch, where there are any.
    """

    epoch: int
    loss: float
    accuracy: float
    held_out_accuracy: float | None
    learning_rate: float
    samples_per_second: float

    def numbers(self) -> dict[str, float]:
        """The record without its number, which is a step in a curve, and without what was not measured."""
        return {name: value for name, value in asdict(self).items() if name != "epoch" and value is not None}


@dataclass(frozen=True)
class Fitting:
    """A training that takes place while `epochs` are drawn; when there are no more, `finish` gives the encoder."""

    epochs: Iterator[Epoch]
    finish: Callable[[], Encoder | Pixels]
