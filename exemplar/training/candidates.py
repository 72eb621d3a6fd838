"""Which classes a step sees: those of its batch, and some drawn from each of several strata to stand for all others.

Neighbouring classes are drawn together, because their rows lie together: in memory, and in the pages of a file. Classes
are numbered in the random order in which seeds are drawn, so that neighbours are no more alike than others. A draw is a
hash of counters (`exemplar/surrogate/counters.py`): the same on every device, for any number of processes, and after a
kill.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from exemplar.surrogate.counters import hashed, shifted

DRAWN_BITS = 31
TOGETHER = 4  # rows and momenta of 128 numbers in a page of 4096 bytes


@dataclass(frozen=True)
class Strata:
    """All classes in groups of `together` neighbours, the last of which may lack some, and the groups in strata.

    `bounds` says with which group each stratum begins, and where the last one ends.
    """

    classes: int
    together: int
    bounds: Int64[Tensor, " bounds"]


def strata(classes: int, count: int, *, device: torch.device) -> Strata:
    """Strata of about equal size, as many as give `count` classes when each gives a group."""
    together = math.gcd(count, TOGETHER)
    groups, parts = -(-classes // together), count // together
    return Strata(classes, together, torch.arange(parts + 1, device=device) * groups // parts)


def draw(all_classes: Strata, *, key: int, step: int) -> Int64[Tensor, " m"]:
    """The classes of one group of each stratum, all of it equally likely, for this step of the training with this key.

    In place of one that a group lacks stands the number of classes, which is that of none.
    """
    bounds, together = all_classes.bounds, all_classes.together
    start = hashed(*(bounds.new_full((), number) for number in (key, step)))
    bits = shifted(hashed(start, torch.arange(len(bounds) - 1, device=bounds.device)), 64 - DRAWN_BITS)
    group = bounds[:-1] + (bits * bounds.diff() >> DRAWN_BITS)
    drawn = (group[:, None] * together + torch.arange(together, device=bounds.device)).flatten()
    return drawn.clamp_max(all_classes.classes)


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


def choose(targets: Int64[Tensor, " b"], all_classes: Strata, *, places: int, key: int, step: int) -> Candidates:
    """The batch's classes, each once and for itself, and the drawn ones that are not among them.

    A drawn class has the weight of the groups in its stratum, so that over all draws the sum of the exponentials has
    the mean that it has over all classes. How many there are differs from step to step, so some places are empty.
    """
    ordered, drawn = targets.sort().values, draw(all_classes, key=key, step=step)
    nobody = drawn.new_full((), all_classes.classes)
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[1:] = ordered[1:] == ordered[:-1]
    met = ordered[torch.searchsorted(ordered, drawn).clamp_max(len(ordered) - 1)] == drawn
    own, others = torch.where(again, nobody, ordered), torch.where(met, nobody, drawn)
    spare = nobody.expand(places - len(ordered) - len(drawn))
    index = torch.cat([own, spare, others])
    groups = all_classes.bounds.diff().repeat_interleave(all_classes.together, output_size=len(drawn))
    stands_for = torch.cat([torch.ones_like(own), torch.ones_like(spare), groups])
    return Candidates(index, stands_for.double().log().float().masked_fill(index == nobody, -torch.inf), ordered)
