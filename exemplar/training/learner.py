"""What the one loop trains: a network together with its loss, its optimizer and what is left of it in the end."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from exemplar.models.network import Encoder
from exemplar.runtime.collective import Share
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.contract import Settings

Batch = tuple[Float[Tensor, "b 3 32 32"], Int64[Tensor, " b"]]


class Learner(nn.Module, ABC):
    """A network that learns a task; `encoder` has the layers that are kept."""

    encoder: Encoder

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Int64[Tensor, ""]]:
        """The mean loss of samples (0..1) with these targets, and how many of them were classified right."""

    def begin(self, data: SurrogateSet) -> None:  # most have nothing to do
        """Look at the data before the first step, where a recipe wants to."""

    @abstractmethod
    def sharing(self, share: Share) -> AbstractContextManager[None]:
        """In the block, what comes in is this share of a batch."""

    @abstractmethod
    def optimizer(self, settings: Settings) -> Optimizer:
        """What changes the weights, at the full learning rate."""

    @abstractmethod
    def rate_factor(self, progress: float) -> float:
        """The factor of the learning rate after this share of the whole training."""

    @abstractmethod
    def finish(self) -> Encoder:
        """The trained encoder, without what served the training alone."""
