"""Which classes a step sees, and that they stand for all."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from exemplar.training.candidates import choose, draw, strata

CPU = torch.device("cpu")


@pytest.mark.parametrize(("classes", "count"), [(8, 4), (1000, 7), (10, 1), (5, 5), (10**9, 3)])
def test_one_class_of_each_stratum_is_drawn(classes: int, count: int):
    """Strata differ by one class at most and cover all; the same counters draw the same classes, others draw others."""
    bounds = strata(classes, count, device=CPU)
    assert (bounds[0], bounds[-1]) == (0, classes)
    assert bounds.diff().max() - bounds.diff().min() <= 1
    drawn = torch.stack([draw(bounds, key=3, step=step) for step in range(20)])
    assert ((drawn >= bounds[:-1]) & (drawn < bounds[1:])).all()
    assert torch.equal(drawn[7], draw(bounds, key=3, step=7))
    if classes > count:
        assert len(drawn.unique(dim=0)) > 1
        assert not torch.equal(drawn, torch.stack([draw(bounds, key=4, step=step) for step in range(20)]))


def test_each_class_of_a_stratum_is_drawn_equally_often():
    """In 10,000 steps; neighbouring strata do not follow each other."""
    bounds = strata(23, 4, device=CPU)
    drawn = torch.stack([draw(bounds, key=0, step=step) for step in range(10_000)])
    for column, (start, end) in zip(drawn.unbind(1), itertools.pairwise(bounds.tolist()), strict=True):
        assert chisquare((column - start).bincount(minlength=end - start).numpy()).pvalue > 1e-3
    pairs = (drawn[:, 0] * 6 + (drawn[:, 1] - bounds[1])).bincount(minlength=30)[:30]
    assert chisquare(pairs.numpy()).pvalue > 1e-3


def test_every_class_of_a_batch_has_one_place_and_no_drawn_class_another():
    """With repeated classes, and with a batch that holds every class that is drawn."""
    bounds = strata(12, 3, device=CPU)
    hit = draw(bounds, key=0, step=5)
    targets = torch.cat([hit, hit[:1], torch.tensor([11, 11])])
    found = choose(targets, bounds, places=12, key=0, step=5)
    used = found.index[found.log_weight > -torch.inf]
    assert sorted(used.tolist()) == sorted(set(targets.tolist()))
    assert (found.index == 12).sum() == 12 - len(used)
    assert torch.equal(found.index[found.place(targets)], targets)
    assert not found.log_weight[found.place(targets)].any()


def test_the_sum_over_all_classes_is_estimated_without_bias():
    """8 classes in 4 strata: the mean over all 16 draws is the sum itself, whichever classes the batch has."""
    bounds, scores = strata(8, 4, device=CPU), torch.randn(9, generator=torch.Generator().manual_seed(0)).double()
    step_of = {tuple(draw(bounds, key=0, step=step).tolist()): step for step in range(400)}
    assert len(step_of) == 16
    for size in range(1, 9):
        for batch in itertools.combinations(range(8), size):
            sums = []
            for step in step_of.values():
                found = choose(torch.tensor(batch), bounds, places=12, key=0, step=step)
                sums.append((scores[found.index].exp() * found.log_weight.double().exp()).sum())
            assert float(torch.stack(sums).mean()) == pytest.approx(float(scores[:8].exp().sum()), rel=1e-6)


def features_gradient(weights: torch.Tensor, scores: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Of the loss with respect to the features, for scores of classes with these weights."""
    wrong = scores.softmax(1)
    wrong[torch.arange(len(own)), own] -= 1
    return wrong @ weights


def bias(count: int, *, weighted: bool) -> float:
    """How far the mean gradient of 400 draws is from that of the full softmax, relative to it."""
    generator = torch.Generator().manual_seed(0)
    rows, features = torch.randn(8001, 64, generator=generator) / 8, torch.randn(32, 64, generator=generator)
    targets = torch.randint(8000, (32,), generator=generator)
    rows[targets] += 4 * features / features.square().sum(1, keepdim=True)
    full, bounds = features_gradient(rows[:-1], features @ rows[:-1].T, targets), strata(8000, count, device=CPU)
    mean = torch.zeros_like(full)
    for step in range(400):
        found = choose(targets, bounds, places=count + 32, key=1, step=step)
        shift = found.log_weight if weighted else found.log_weight.clamp_max(0)
        seen = rows[found.index]
        mean += features_gradient(seen, features @ seen.T + shift, found.place(targets)) / 400
    return float((mean - full).norm() / full.norm())


def test_the_gradient_is_consistent_and_not_unbiased():
    """Its mean is a little off, less so with more classes; without the weights of the strata it is off by far."""
    few, many = bias(64, weighted=True), bias(1024, weighted=True)
    assert many < 0.01
    assert many < few
    assert bias(1024, weighted=False) > 0.03
