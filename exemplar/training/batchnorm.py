"""Batch normalisation that is folded into the layer before it in the end (Ioffe and Szegedy, 2015).

It has no gain: a rectifier follows, which passes a positive factor on, and the next layer can undo any factor.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from exemplar.runtime import collective
from exemplar.runtime.collective import Share

EPSILON, MOMENTUM = 1e-5, 0.01


class BatchNorm(nn.Module):
    """Maps with mean 0 and variance 1 in every channel of the whole batch, plus a bias if it is to be learnt.

    Where a batch is shared, mean and variance are those of the whole. In evaluation, and for a batch of one sample,
    they are averages over the last steps of the training, in which each weighs a hundredth less than the one after it.
    """

    mean: Tensor
    variance: Tensor
    steps: Tensor

    def __init__(self, channels: int, *, learns_bias: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=learns_bias)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.zeros(channels))
        self.register_buffer("steps", torch.zeros(()))
        self.share: Share | None = None

    def average(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Mean and variance over the last steps; 0 and 1 before the first."""
        weight = 1 - (1 - MOMENTUM) ** self.steps  # of all steps together, as the sums began at 0
        seen = self.steps > 0
        return torch.where(seen, self.mean / weight, 0.0), torch.where(seen, self.variance / weight, 1.0)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The normalised maps."""
        whole, gain = self.whole(maps), torch.ones_like(self.bias)
        if not self.training or whole == 1:
            mean, variance = self.average()
            return functional.batch_norm(maps, mean, variance, gain, self.bias, eps=EPSILON)
        self.steps += 1
        if self.share and self.share.processes > 1:
            return self.normalized_together(maps.float(), self.share, whole)
        return functional.batch_norm(maps, self.mean, self.variance, gain, self.bias, True, MOMENTUM, EPSILON)

    def whole(self, maps: Float[Tensor, "b c h w"]) -> int:
        """How many maps all processes have together; a row of the batch may have several (a task's patches)."""
        if self.share is None:
            return len(maps)
        own: int = self.share.rows.stop - self.share.rows.start
        return self.share.whole * len(maps) // own

    def normalized_together(self, maps: Float[Tensor, "b c h w"], share: Share, whole: int) -> Float[Tensor, "b c h w"]:
        """The same from the rows of this process, and from what the others say of theirs."""
        counts, values = float(share.counted > 0), whole * maps.shape[2] * maps.shape[3]
        mean = collective.total(counts * maps.sum((0, 2, 3))) / values
        centred = maps - mean[:, None, None]
        variance = collective.total(counts * centred.square().sum((0, 2, 3))) / values
        with torch.no_grad():
            self.mean.lerp_(mean, MOMENTUM)
            self.variance.lerp_(variance * (values / (values - 1)), MOMENTUM)  # unbiased, as PyTorch keeps it
        return centred * (variance + EPSILON).rsqrt()[:, None, None] + self.bias[:, None, None]


@torch.no_grad()
def folded(
    weights: Float[Tensor, "out ..."], norm: BatchNorm
) -> tuple[Float[Tensor, "out ..."], Float[Tensor, " out"]]:
    """Weights and biases of a convolution that does what one without biases and then `norm` do in evaluation."""
    mean, variance = norm.average()
    scale = (variance + EPSILON).rsqrt()
    return weights * scale[:, None, None, None], norm.bias - mean * scale
