"""In which order an epoch sees its samples."""

from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare

from exemplar.training.order import Passes, batches

CPU = torch.device("cpu")


def passes(seeds: int, samples: int, *, random_seed: int = 3, epoch: int = 0) -> Passes:
    """On the CPU."""
    return Passes(seeds, samples, random_seed=random_seed, epoch=epoch, device=CPU)


@pytest.mark.parametrize(("seeds", "samples"), [(40, 25), (823, 15), (1, 7), (9, 1)])
def test_an_epoch_has_every_sample_once(seeds: int, samples: int) -> None:
    """Of 1,000 and of 12,345, and where there is one seed or one sample of each."""
    order = passes(seeds, samples)
    assert len(order) == seeds * samples
    assert sorted(order[:].tolist()) == list(range(seeds * samples))


def test_a_pass_visits_every_seed_once() -> None:
    """So that no class waits for longer than two passes."""
    visits = (passes(40, 25)[:] // 25).view(25, 40)
    assert (visits.sort(1).values == torch.arange(40)).all()
    assert len(visits.unique(dim=0)) == 25


@pytest.mark.parametrize("batch", [1, 16, 40, 64, 999])
def test_a_batch_is_the_same_whichever_was_asked_for_before(batch: int) -> None:
    """A training that goes on draws no pass that lies behind it; processes with other batches see the same order."""
    whole, starts = passes(40, 25)[:], range(0, 1000, batch)
    order = passes(40, 25)
    backwards = {start: order[start : start + batch] for start in reversed(starts)}
    assert torch.equal(torch.cat([backwards[start] for start in starts]), whole)


@pytest.mark.parametrize(("size", "first"), [(1, 0), (16, 3), (64, 15), (999, 1)])
def test_batches_are_the_order_cut_into_pieces(size: int, first: int) -> None:
    """From any of them on, although several are asked for together; the last may be smaller."""
    order = passes(40, 25)
    found = list(batches(order, size, first=first))
    assert [len(batch) for batch in found[:-1]] == [size] * (len(found) - 1)
    assert torch.equal(torch.cat(found), order[first * size :])


def test_epochs_and_random_seeds_have_orders_of_their_own() -> None:
    """Also of the samples of a seed."""
    orders = [passes(40, 25, random_seed=seed, epoch=epoch)[:] for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert len({tuple((order[:40].sort().values % 25).tolist()) for order in orders}) == 4


def test_a_pass_takes_all_samples_equally_often() -> None:
    """The first of 10,000 seeds of 20 samples each."""
    taken = passes(10_000, 20)[:10_000] % 20
    assert chisquare(taken.bincount(minlength=20)).pvalue > 1e-3


def test_the_order_of_a_million_seeds_takes_little_memory() -> None:
    """Of a billion samples, in whose middle a batch is asked for."""
    order = passes(1_000_000, 1000)
    before = resident_bytes()
    assert len(set((order[500_000_000:500_000_064] // 1000).tolist())) == 64
    assert resident_bytes() - before < 200e6


def resident_bytes() -> int:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
