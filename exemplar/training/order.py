"""In which order an epoch sees its rows; of a surrogate set nothing of the size of all samples is kept for it."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor

from exemplar.datasets.streams import torch_seed
from exemplar.surrogate.counters import numbers
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.contract import Settings
from exemplar.training.learner import Samples

BATCHES_AT_ONCE = 20


class Passes:
    """Every sample of a set once, in as many passes over its seeds as each has samples.

    A pass visits every seed once, in an order of its own. Seed c's sample in it is number (pass + h) mod K, where h is
    a hash of c. All of it follows from the random seed, the epoch, the pass and the seed: a step can ask for its batch
    and know nothing of the steps before it.
    """

    def __init__(self, seeds: int, samples: int, *, random_seed: int, epoch: int, device: torch.device) -> None:
        self.seeds, self.samples, self.device = seeds, samples, device
        self.words = (random_seed, "order", epoch)
        self.visits = lru_cache(maxsize=1)(self.draw_visits)

    def __len__(self) -> int:
        return self.seeds * self.samples

    def draw_visits(self, number: int) -> Int64[Tensor, " n"]:
        """The seeds in the order in which a pass visits them."""
        seeds = torch.arange(self.seeds, device=self.device)
        return numbers(torch_seed(*self.words, number), seeds, 1)[:, 0].argsort(stable=True)

    def __getitem__(self, places: slice) -> Int64[Tensor, " b"]:
        start, stop, _ = places.indices(len(self))
        parts = []
        for number in range(start // self.seeds, -(-stop // self.seeds)):
            before = number * self.seeds
            seeds = self.visits(number)[max(start - before, 0) : stop - before]
            shift = numbers(torch_seed(*self.words), seeds, 1)[:, 0] % self.samples
            parts.append(seeds * self.samples + (number + shift) % self.samples)
        return torch.cat(parts)


Order = Int64[Tensor, " n"] | Passes  # a slice of either is a batch


def draw_order(data: Samples, settings: Settings, *, random_seed: int, epoch: int, device: torch.device) -> Order:
    """The order of an epoch: passes over a surrogate set, else PyTorch's order of the rows that are the epoch's own."""
    if isinstance(data, SurrogateSet) and not settings.new_samples:
        return Passes(len(data.label), data.draws.samples, random_seed=random_seed, epoch=epoch, device=device)
    share = settings.share(len(data))
    return (epoch * share * settings.new_samples + torch.randperm(share)).to(device)


def batches(order: Order, size: int, *, first: int = 0) -> Iterator[Int64[Tensor, " b"]]:
    """The batches of an order from this one on; the last may be smaller. 20 are asked for together: fewer launches."""
    together = BATCHES_AT_ONCE * size
    for start in range(first * size, len(order), together):
        yield from torch.split(order[start : start + together], size)
