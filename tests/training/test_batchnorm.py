"""Batch normalisation against PyTorch's, alone and where several processes share a batch."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, distributed, nn

from exemplar.runtime.collective import Share
from exemplar.training.batchnorm import MOMENTUM, BatchNorm, folded

CHANNELS = 3


@pytest.fixture
def team() -> Iterator[None]:
    """A group of one process, whose sums are its own."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def batches(count: int, *, rows: int = 6) -> list[Tensor]:
    """Maps whose channels differ in mean and spread, and whose means drift."""
    generator, level = torch.Generator().manual_seed(0), torch.arange(CHANNELS)[:, None, None]
    return [
        level + 0.1 * number + (1 + level) * torch.randn(rows, CHANNELS, 4, 5, generator=generator)
        for number in range(count)
    ]


def sharing(norm: BatchNorm, *, rows: int, whole: int, counted: int) -> BatchNorm:
    """The norm in one of two processes."""
    norm.share = Share(slice(0, rows), whole, counted, 2)
    return norm


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_shared_batches_are_normalised_as_pytorch_does(team: None) -> None:
    """Maps, gradients and running averages are those of its batch normalisation, step for step."""
    mine = sharing(BatchNorm(CHANNELS, learns_bias=True).train(), rows=6, whole=6, counted=6)
    peer = nn.BatchNorm2d(CHANNELS, eps=1e-5, momentum=0.01).train()
    nn.init.zeros_(peer.running_var)
    for maps in batches(4):
        one, other = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        found, expected = mine(one), peer(other)
        close(found, expected)
        for result in (found, expected):
            (result**3).sum().backward()
        close(one.grad, other.grad)
        close(mine.bias.grad, peer.bias.grad)
        close(mine.mean, peer.running_mean)
        close(mine.variance, peer.running_var)


def test_shared_or_alone_a_batch_leaves_the_same_averages(team: None) -> None:
    """A training that goes on with another number of processes reads what the others have written."""
    shared = sharing(BatchNorm(CHANNELS, learns_bias=False).train(), rows=6, whole=6, counted=6)
    alone = BatchNorm(CHANNELS, learns_bias=False).train()
    for maps in batches(3):
        close(shared(maps), alone(maps))
    for mine, other in zip(shared.average(), alone.average(), strict=True):
        close(mine, other)
    assert float(shared.steps) == float(alone.steps) == 3


def test_mean_and_variance_are_over_the_rows_of_all_processes(team: None) -> None:
    """Two rows of six add a third of their own mean; a process whose row does not count adds nothing."""
    (maps,) = batches(1, rows=2)
    norm = sharing(BatchNorm(CHANNELS, learns_bias=False).train(), rows=2, whole=6, counted=2)
    norm(maps)
    close(norm.mean, MOMENTUM * maps.mean((0, 2, 3)) / 3)
    idle = sharing(BatchNorm(CHANNELS, learns_bias=False).train(), rows=1, whole=6, counted=0)
    idle(maps[:1])
    assert not idle.mean.any()
    assert not idle.variance.any()


def test_each_step_weighs_a_hundredth_less_than_the_one_after_it() -> None:
    """The averages are weighted means over all steps so far, whose weights add up to 1."""
    norm, steps = BatchNorm(CHANNELS, learns_bias=False).train(), batches(7)
    for maps in steps:
        norm(maps)
    weights = 0.99 ** torch.arange(7).flip(0).double()
    weights /= weights.sum()
    mean, variance = norm.average()
    close(mean, (weights[:, None] * torch.stack([maps.mean((0, 2, 3)) for maps in steps])).sum(0).float())
    close(variance, (weights[:, None] * torch.stack([maps.var((0, 2, 3)) for maps in steps])).sum(0).float())


def test_before_the_first_step_evaluation_changes_nothing_but_adds_the_bias() -> None:
    """The averages are 0 and 1 then, and so they are for a batch of one sample."""
    norm, (maps,) = BatchNorm(CHANNELS, learns_bias=True), batches(1)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, -2.0, 0.5]))
    close(norm.eval()(maps), maps + norm.bias[:, None, None])
    close(norm.train()(maps[:1]), maps[:1] + norm.bias[:, None, None])
    assert float(norm.steps) == 0


def test_a_flat_batch_is_its_bias(team: None) -> None:
    """A channel without any spread is divided by the root of a hundred thousandth, and stays finite."""
    for norm in (
        BatchNorm(1, learns_bias=False).train(),
        sharing(BatchNorm(1, learns_bias=False), rows=2, whole=2, counted=2),
    ):
        maps = torch.full((2, 1, 3, 3), 0.5)
        close(norm(maps), torch.zeros_like(maps))
        maps[0, 0, 0, 0] += 0.003
        expected = (maps - maps.mean()) / (maps.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(norm(maps), expected, rtol=1e-3, atol=1e-4)


def test_a_folded_convolution_does_what_convolution_and_norm_did() -> None:
    """In evaluation, also where the variance is small."""
    generator = torch.Generator().manual_seed(0)
    images, weights = torch.rand(2, 3, 8, 8, generator=generator), torch.randn(CHANNELS, 3, 3, 3, generator=generator)
    weights[0] *= 1e-3
    norm = BatchNorm(CHANNELS, learns_bias=True).train()
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm(nn.functional.conv2d(images, weights))
        norm.eval()
        close(nn.functional.conv2d(images, *folded(weights, norm)), norm(nn.functional.conv2d(images, weights)))
