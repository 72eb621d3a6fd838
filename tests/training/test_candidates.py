"""Which classes a step sees, and that they stand for all."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from exemplar.training.candidates import choose, draw, strata

CPU = torch.device("cpu")


@pytest.mark.parametrize(("classes", "count"), [(8, 4), (1000, 7), (10, 1), (5, 5), (1001, 12), (10**9, 3), (10**9, 8)])
def test_one_group_of_each_stratum_is_drawn(classes: int, count: int):
    """Strata differ by one group at most and cover all; the same counters draw the same classes, others draw others."""
    all_classes = strata(classes, count, device=CPU)
    bounds, together = all_classes.bounds, all_classes.together
    assert (bounds[0], bounds[-1]) == (0, -(-classes // together))
    assert bounds.diff().max() - bounds.diff().min() <= 1
    drawn = torch.stack([draw(all_classes, key=3, step=step) for step in range(20)])
    assert drawn.shape == (20, count)
    assert ((drawn >= bounds[:-1].repeat_interleave(together) * together) & (drawn <= classes)).all()
    assert (drawn < bounds[1:].repeat_interleave(together) * together).all()
    assert torch.equal(drawn[7], draw(all_classes, key=3, step=7))
    if classes > count:
        assert len(drawn.unique(dim=0)) > 1
        assert not torch.equal(drawn, torch.stack([draw(all_classes, key=4, step=step) for step in range(20)]))


def test_neighbours_are_drawn_together():
    """Four, or as many as divide the number that is drawn; a group may lack some."""
    drawn = [draw(strata(10, count, device=CPU), key=0, step=0).tolist() for count in (8, 6, 5)]
    assert drawn[0] == [
        each if each < 10 else 10 for start in (drawn[0][0], drawn[0][4]) for each in range(start, start + 4)
    ]
    assert drawn[1] == [each for start in drawn[1][::2] for each in (start, start + 1)]
    assert len(set(drawn[2])) == 5


def test_each_class_of_a_stratum_is_drawn_equally_often():
    """In 10,000 steps; neighbouring strata do not follow each other."""
    all_classes = strata(90, 16, device=CPU)
    groups = torch.stack([draw(all_classes, key=0, step=step)[::4] // 4 for step in range(10_000)])
    for column, (start, end) in zip(groups.unbind(1), itertools.pairwise(all_classes.bounds.tolist()), strict=True):
        assert chisquare((column - start).bincount(minlength=end - start).numpy()).pvalue > 1e-3
    pairs = (groups[:, 0] * 6 + (groups[:, 1] - all_classes.bounds[1])).bincount(minlength=30)[:30]
    assert chisquare(pairs.numpy()).pvalue > 1e-3


def test_every_class_of_a_batch_has_one_place_and_no_drawn_class_another():
    """With repeated classes, and with a batch that holds every class that is drawn."""
    all_classes = strata(12, 3, device=CPU)
    hit = draw(all_classes, key=0, step=5)
    targets = torch.cat([hit, hit[:1], torch.tensor([11, 11])])
    found = choose(targets, all_classes, places=12, key=0, step=5)
    used = found.index[found.log_weight > -torch.inf]
    assert sorted(used.tolist()) == sorted(set(targets.tolist()))
    assert (found.index == 12).sum() == 12 - len(used)
    assert torch.equal(found.index[found.place(targets)], targets)
    assert not found.log_weight[found.place(targets)].any()


@pytest.mark.parametrize(("classes", "count", "ways"), [(8, 4, 2), (8, 2, 4), (7, 4, 2), (7, 3, 12), (9, 6, 4)])
def test_the_sum_over_all_classes_is_estimated_without_bias(classes: int, count: int, ways: int):
    """The mean over all draws is the sum itself, whichever classes the batch has, where a group lacks some too."""
    all_classes = strata(classes, count, device=CPU)
    scores = torch.randn(classes + 1, generator=torch.Generator().manual_seed(0)).double()
    step_of = {tuple(draw(all_classes, key=0, step=step).tolist()): step for step in range(400)}
    assert len(step_of) == ways
    for size in range(1, classes + 1):
        for batch in itertools.combinations(range(classes), size):
            sums = []
            for step in step_of.values():
                found = choose(torch.tensor(batch), all_classes, places=classes + count, key=0, step=step)
                sums.append((scores[found.index].exp() * found.log_weight.double().exp()).sum())
            assert float(torch.stack(sums).mean()) == pytest.approx(float(scores[:classes].exp().sum()), rel=1e-6)


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
    full, all_classes = features_gradient(rows[:-1], features @ rows[:-1].T, targets), strata(8000, count, device=CPU)
    mean = torch.zeros_like(full)
    for step in range(400):
        found = choose(targets, all_classes, places=count + 32, key=1, step=step)
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
