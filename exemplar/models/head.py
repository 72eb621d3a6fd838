"""Encoder output -> one score per class: dropout and the softmax layer's weights, thrown away after training."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

DROPOUT = 0.5


class Dropout(nn.Module):
    """Dropout whose mask is drawn for a whole batch, so that the processes that share one drop what one alone would."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.whole = slice(None), 0

    @contextmanager
    def of_batch(self, rows: slice, whole: int) -> Iterator[None]:
        """In the block, what comes in are these rows of a batch of `whole`."""
        before = self.rows, self.whole
        self.rows, self.whole = rows, whole
        try:
            yield
        finally:
            self.rows, self.whole = before

    def forward(self, signal: Tensor) -> Tensor:
        """On the CPU the same numbers as nn.Dropout's."""
        if not self.training:
            return signal
        mask = signal.new_empty(self.whole or len(signal), *signal.shape[1:]).bernoulli_(1 - DROPOUT).div_(1 - DROPOUT)
        return signal * mask[self.rows]


class Head(nn.Module):
    """Dropout and the softmax layer's weights: encoder output -> one score per class, wherever the encoder slides."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.dropout = Dropout()
        self.scores = nn.Conv2d(width, classes, 1)

    def forward(self, features: Float[Tensor, "b c g v"]) -> Float[Tensor, "b k g v"]:
        """Scores before the softmax.

        Of patches they are one product of matrices. As a convolution it took 2 to 11 times as long forward and backward
        on a CPU (8,000 classes and more, docs/log.md).
        """
        seen = self.dropout(features)
        if seen.shape[2:] == (1, 1):
            weight, bias = self.scores.weight.flatten(1), self.scores.bias
            return functional.linear(seen.flatten(1), weight, bias)[:, :, None, None]
        scores: Tensor = self.scores(seen)
        return scores
