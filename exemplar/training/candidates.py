"""Which classes a step sees: those of its batch, and one drawn from each of several strata to stand for all others.

A draw is a hash of counters (`exemplar/surrogate/counters.py`): the same on every device, for any number of processes,
and after a kill.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from exemplar.surrogate.counters import hashed, shifted

DRAWN_BITS = 31


def strata(classes: int, count: int, *, device: torch.device) -> Int64[Tensor, " bounds"]:
    """Where each of `count` strata of about equal size begins, and where the last one ends."""
    return torch.arange(count + 1, device=device) * classes // count


def draw(bounds: Int64[Tensor, " bounds"], *, key: int, step: int) -> Int64[Tensor, " m"]:
    """One class of each stratum, all of it equally likely, for this step of the training with this key."""
    start = hashed(*(bounds.new_full((), number) for number in (key, step)))
    bits = shifted(hashed(start, torch.arange(len(bounds) - 1, device=bounds.device)), 64 - DRAWN_BITS)
    return bounds[:-1] + (bits * bounds.diff() >> DRAWN_BITS)


@dataclass(frozen=True)
class Candidates:
    """The classes in the places of a head: `index` is each one's number, or that of no class where a place is empty.

    The exponential of a score, times that of `log_weight`, stands for the sum over the classes that the place stands
    for. `ordered` are the classes of the whole batch.
    """

    index: Int64[Tensor, " places"]
    log_weight: Float[Tensor, " places"]
    ordered: Int64[Tensor, " b"]

    def place(self, targets: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """Where classes of the batch are."""
        return torch.searchsorted(self.ordered, targets)

    def without(self, left_out: Bool[Tensor, " places"]) -> "Candidates":
        """The same with nothing in some places."""
        return replace(self, log_weight=self.log_weight.masked_fill(left_out, -torch.inf))


def choose(
    targets: Int64[Tensor, " b"], bounds: Int64[Tensor, " bounds"], *, places: int, key: int, step: int
) -> Candidates:
    """The batch's classes, each once and for itself, and the drawn ones that are not among them.

    A drawn class has the weight of its stratum, so that over all draws the sum of the exponentials has the mean that it
    has over all classes. How many there are differs from step to step, so some places are empty.
    """
    ordered, drawn, nobody = targets.sort().values, draw(bounds, key=key, step=step), bounds[-1]
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[1:] = ordered[1:] == ordered[:-1]
    met = ordered[torch.searchsorted(ordered, drawn).clamp_max(len(ordered) - 1)] == drawn
    own, others = torch.where(again, nobody, ordered), torch.where(met, nobody, drawn)
    spare = nobody.expand(places - len(ordered) - len(drawn))
    index = torch.cat([own, spare, others])
    stands_for = torch.cat([torch.ones_like(own), torch.ones_like(spare), bounds.diff()])
    return Candidates(index, stands_for.double().log().float().masked_fill(index == nobody, -torch.inf), ordered)
