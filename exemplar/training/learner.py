"""What the one loop trains: a network together with its loss, its optimizer and what is left of it in the end."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from exemplar.io.examples import Examples
from exemplar.models.network import Encoder
from exemplar.runtime.collective import Share
from exemplar.training.contract import Settings
from exemplar.training.rows import LazyRows

# A learner and the data it is for agree on what these are.
Data: TypeAlias = Any
Rendered: TypeAlias = Any


@runtime_checkable
class Samples(Protocol):
    """What is learnt from: rows that are rendered on the device that holds them, each by its number alone.

    Every draw of chance is in the rows, so that processes which share a batch see what one process would.
    """

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> "Samples":
        """The same on another device."""
        ...

    def unseen(self) -> "Samples":
        """Rows that are never trained on; there may be none."""
        ...

    def render(self, indices: Int64[Tensor, " b"]) -> Rendered:
        """What the learner's `forward` takes for these rows."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a batch gave: the mean loss, the sum over its rows of scores (at best 1), and sums of what else is told."""

    loss: Float[Tensor, ""]
    score: Tensor
    sums: Mapping[str, Tensor] = field(default_factory=dict)


class Learner(nn.Module, ABC):
    """A network that learns a task.

    `chance` is the score of an answer that looks at nothing, and `passes` how often the encoder runs for one row: less
    than 1 where only parts of it do.
    """

    chance: float = 0.0
    passes: float = 1
    # Whether `forward` draws, by a mask for the whole batch that `sharing` cuts; else a draw there is an error.
    draws: bool = False
    # On how many rows, spread evenly, the score is measured after an epoch, where a step does not tell it; else None.
    measured: int | None = None
    # What `begin_step`, `forward` or `end_step` does on the host in every step; else None. With it no step is captured,
    # and learning rates are numbers on every device.
    on_host: str | None = None
    # Rows that lie outside of the network; each of several processes owns some, and writes them for a state.
    tables: Sequence[LazyRows] = ()

    @abstractmethod
    def forward(self, batch: Rendered) -> Outcome:
        """What the network makes of the rows of a batch."""

    def look(self, batch: Rendered) -> Any:  # noqa: ANN401  # what the learner's `judge` takes
        """In evaluation, what is kept of a batch until the last one was seen: here its outcome."""
        return self(batch)

    def judge(self, seen: list[Any]) -> list[Outcome]:
        """The outcomes of batches that were looked at, all of them together."""
        return seen

    def begin(self, data: Data) -> None:  # most have nothing to do
        """Look at the data before the first step, where a recipe wants to."""

    def begin_step(self, data: Data, indices: Int64[Tensor, " b"], optimizer: Optimizer) -> None:
        """Get ready for a step on these rows, which are those of all processes."""

    def end_step(self, optimizer: Optimizer) -> None:
        """Keep what the optimizer has changed."""

    @abstractmethod
    def first_layers(self) -> list[Tensor]:
        """The first weights of each network; a gradient reaches them only through every layer above."""

    @abstractmethod
    def sharing(self, share: Share) -> AbstractContextManager[None]:
        """In the block, what comes in is this share of a batch."""

    @abstractmethod
    def optimizer(self, settings: Settings) -> Optimizer:
        """What changes the weights, at the full learning rate."""

    @abstractmethod
    def rate_factor(self, progress: float) -> float:
        """The factor of the learning rate after this share of the whole training."""

    def examples(self, name: str, batch: Rendered) -> list[Examples]:  # most tasks have some
        """What the network is shown and answers for a few rows, as pictures of the task of this name."""
        return []

    @abstractmethod
    def finish(self) -> Encoder:
        """The trained encoder, without what served the training alone."""


class ClassLearner(Learner):
    """A learner that tells classes apart by one head or several, each with a row of weights for every class."""

    @abstractmethod
    def read(self, samples: Float[Tensor, "b 3 32 32"]) -> Sequence[Tensor]:
        """What each head reads."""

    @abstractmethod
    def scores(self, features: Sequence[Tensor]) -> list[Float[Tensor, "b k"]]:
        """Of each head, before the softmax; the first one's decide which class a sample is taken for."""

    @abstractmethod
    def answered(self, samples: Float[Tensor, "b 3 32 32"]) -> Int64[Tensor, " b"]:
        """The class that each sample is taken for."""

    @abstractmethod
    def rows(self) -> list[tuple[Tensor, float]]:
        """The weights of all heads with a row for each class, and the spread that they are drawn with."""

    def starts(self, samples: Float[Tensor, "b 3 32 32"]) -> Sequence[Tensor]:
        """The rows of classes of which these are a sample each, for each head; none where rows are drawn."""
        return []
