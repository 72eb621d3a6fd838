"""The recipe `fast`: what it folds, what it starts from, and that it goes on as if it had not been interrupted."""

from pathlib import Path

import pytest
import torch
from scipy.linalg import polar
from small import SETTINGS, same_weights, timeless, training

from exemplar.models.architecture import parse
from exemplar.runtime.collective import Share
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet, measure_mean
from exemplar.training.batchnorm import BatchNorm
from exemplar.training.fast import FastClassifier, draw_fast
from exemplar.training.muon import Muon, orthogonalized


def learner(data: SurrogateSet, *, random_seed: int = 0) -> FastClassifier:
    """A small untrained network, the same for the same random seed."""
    mean = measure_mean(data, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(random_seed)
    return draw_fast(parse("8c5-8c5-16f"), len(data.label), mean=mean, generator=generator)


def test_it_learns(surrogate_set: SurrogateSet, compute: Compute) -> None:
    """Three classes that their colour tells apart, within four epochs; the learning rate ends near 0."""
    epochs = list(training(learner(surrogate_set), surrogate_set, compute))
    assert epochs[-1].score > 0.95
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].learning_rate < 0.2 * SETTINGS.learning_rate


def test_the_finished_encoder_does_what_the_network_did(surrogate_set: SurrogateSet, compute: Compute) -> None:
    """Batch normalisation is folded into plain convolutions: the same largest responses, no other layers."""
    model = learner(surrogate_set)
    for _ in training(model, surrogate_set, compute):
        pass
    samples, _ = surrogate_set.render(torch.arange(len(surrogate_set)))
    model.eval()
    encoder = model.finish().eval()
    with torch.inference_mode():
        _, largest = model.read(samples)
        found = torch.cat(encoder.extract_features(samples, (1,)), 1)
    assert encoder.model == "8c5-8c5-16f"
    assert torch.allclose(found, largest, atol=1e-5)
    assert len(list(encoder.parameters())) == 6


def test_a_class_starts_from_one_of_its_samples(surrogate_set: SurrogateSet) -> None:
    """Before the first step that sample is classified right, in both heads."""
    model = learner(surrogate_set).train()
    model.begin(surrogate_set)
    samples, targets = surrogate_set.render(torch.arange(3) * surrogate_set.draws.samples)
    with torch.no_grad():
        for head, features in zip(model.heads, model.read(samples), strict=True):
            scores = head(features)
            assert torch.equal(scores.argmax(1), targets)
            assert scores.max().item() == pytest.approx(10, abs=1e-3)  # a cosine of 1 over the temperature


def test_an_interrupted_training_goes_on_bit_for_bit(
    surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """Weights, Muon's momenta and the running statistics are those of the training that was not interrupted."""
    whole, halved, resumed = (learner(surrogate_set) for _ in range(3))
    records = list(training(whole, surrogate_set, compute))
    begun = training(halved, surrogate_set, compute, checkpoint=tmp_path / "state.pt")
    next(begun), next(begun)
    again = list(training(resumed, surrogate_set, compute, checkpoint=tmp_path / "state.pt"))
    assert timeless(again) == timeless(records)
    assert same_weights(whole, resumed)


def test_a_batch_of_one_is_normalised_as_in_evaluation(surrogate_set: SurrogateSet) -> None:
    """It has no spread over samples; a last batch may be so small."""
    model = learner(surrogate_set).train()
    samples, targets = surrogate_set.render(torch.tensor([0]))
    with model.sharing(Share(slice(0, 1), 1, 1, 1)):
        loss = model((samples, targets)).loss
    assert loss.isfinite()
    assert all(torch.equal(norm.mean, torch.zeros_like(norm.mean)) for norm in model.trunk.norms)


@pytest.mark.parametrize("shape", [(8, 3, 5, 5), (8, 8), (16, 8), (40, 8)])
def test_a_step_of_muon_is_nearly_orthogonal(shape: tuple[int, ...]) -> None:
    """All singular values lie around 1, which the authors' coefficients reach in five iterations.

    The step points as the nearest orthogonal matrix does, SciPy's polar factor, however long the given one was.
    """
    step = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalized(step).flatten(1)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5
    assert values.max() < 1.3
    nearest = torch.from_numpy(polar(step.flatten(1).numpy())[0])
    assert torch.cosine_similarity(found.flatten(), nearest.flatten(), 0) > 0.97
    torch.testing.assert_close(orthogonalized(1e-3 * step).flatten(1), found, rtol=1e-2, atol=1e-3)
    assert not orthogonalized(torch.zeros(shape)).any()


def test_under_autocast_an_orthogonal_step_is_iterated_in_bfloat16() -> None:
    """It points where that in float32 does; weights, momentum and all other steps stay in float32, to the bit."""
    start, gradient = torch.randn(2, 32, 16, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    steps: dict[bool, list[torch.Tensor]] = {}
    for enabled in (False, True):
        filters, others = (torch.nn.Parameter(start.clone()) for _ in range(2))
        filters.grad, others.grad = gradient.clone(), gradient.clone()
        groups = [{"params": [filters], "lr": 0.1, "orthogonal": True}, {"params": [others], "lr": 0.1}]
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            Muon(groups, momentum=0.9).step()
        steps[enabled] = [filters.detach() - start, others.detach()]
    (exact, plain), (rounded, beside) = steps[False], steps[True]
    assert torch.equal(plain, beside)
    assert rounded.dtype is torch.float32
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.05


def test_a_rate_may_be_a_tensor() -> None:
    """As where steps are captured: the steps are the same but for rounding, and follow the tensor."""
    given = [torch.randn(8, 6, generator=torch.Generator().manual_seed(number)) for number in range(4)]
    rate, changed = torch.tensor(0.0), []
    for is_tensor in (False, True):
        filters, others = (torch.nn.Parameter(values.clone()) for values in given[:2])
        groups = [{"params": [filters], "lr": 0.0, "orthogonal": True}, {"params": [others], "lr": 0.0}]
        steps = Muon(groups, momentum=0.9)
        for number in (0.1, 0.02):
            rate.fill_(number)
            for group in steps.param_groups:
                group["lr"] = rate if is_tensor else number
            filters.grad, others.grad = given[2].clone(), given[3].clone()
            steps.step()
        changed.append((filters.detach(), others.detach()))
    torch.testing.assert_close(changed[0], changed[1])


def test_on_the_cpu_the_optimizer_computes_in_float32() -> None:
    """Whatever the precision of the network's products."""
    for precision in (torch.float32, torch.bfloat16):
        with Compute(torch.device("cpu"), precision).autocast_step():
            assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("length", [1e-3, 20.0])
def test_an_orthogonal_step_is_as_long_as_the_rate_says(length: float) -> None:
    """A tenth of the weights' own length against the gradient, whatever its size; without a gradient they stay."""
    start, gradient = torch.randn(2, 6, 4, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    weights = torch.nn.Parameter(start * (length / start.norm()))
    optimizer = Muon([{"params": [weights], "lr": 0.1, "orthogonal": True}], momentum=0.9)
    weights.grad = torch.zeros_like(gradient)
    optimizer.step()
    torch.testing.assert_close(weights.detach(), start * (length / start.norm()))
    weights.grad = 1e-4 * gradient
    optimizer.step()
    step = weights.detach() - start * (length / start.norm())
    assert float(step.norm()) == pytest.approx(0.1 * length, rel=1e-3)
    assert torch.cosine_similarity(step.flatten(), -orthogonalized(gradient).flatten(), 0) > 0.999


def test_filters_keep_their_length(surrogate_set: SurrogateSet) -> None:
    """A step turns them: after it each layer is as long as the step allows, before the next as long as at the start.

    Without that 50 steps of a fifth of the length would add up to 70 %.
    """
    weights = torch.nn.Parameter(torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0)))
    optimizer = Muon([{"params": [weights], "lr": 0.2, "orthogonal": True}], momentum=0.9)
    length = float(weights.detach().norm())
    for number in range(50):
        weights.grad = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(number))
        optimizer.step()
        assert abs(float(weights.detach().norm()) - length) <= 0.201 * length


def test_without_orthogonal_it_is_sgd_with_nesterovs_momentum() -> None:
    """Step for step PyTorch's own, decay included."""
    start = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    group = {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.9}
    optimizers = (
        Muon([{"params": [ours], **group}], momentum=0.9),
        torch.optim.SGD([{"params": [theirs], **group}], lr=0.1, nesterov=True, momentum=0.9),
    )
    for number in range(5):
        ours.grad = theirs.grad = torch.randn(5, 4, generator=torch.Generator().manual_seed(number))
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_loss_is_that_of_both_heads_and_accuracy_that_of_the_first(surrogate_set: SurrogateSet) -> None:
    """Each head's mean negative log-likelihood, added up."""
    model = learner(surrogate_set).train()
    model.begin(surrogate_set)
    batch = surrogate_set.render(torch.arange(0, 60, 4))
    with torch.no_grad():
        outcome = model(batch)
        scores = [head(features) for head, features in zip(model.heads, model.read(batch[0]), strict=True)]
    chosen = [each.log_softmax(1).gather(1, batch[1][:, None]).mean() for each in scores]
    assert float(outcome.loss) == pytest.approx(-float(sum(chosen)), rel=1e-5)
    assert int(outcome.score) == int((scores[0].argmax(1) == batch[1]).sum())


def test_the_rate_rises_and_falls_evenly(surrogate_set: SurrogateSet) -> None:
    """Up over the first twentieth, down to 0 at the end."""
    factors = [learner(surrogate_set).rate_factor(progress) for progress in (0.0, 0.025, 0.05, 0.525, 1.0)]
    assert factors == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_filters_take_orthogonal_steps_and_only_heads_decay(surrogate_set: SurrogateSet) -> None:
    """Filters turn by a fifth of the learning rate; convolutions' own biases, which nothing reads, are not trained."""
    model = learner(surrogate_set)
    filters, biases, heads = model.optimizer(SETTINGS).param_groups
    assert (filters["lr"], filters["momentum"], filters["orthogonal"]) == (pytest.approx(0.02), 0.95, True)
    assert (biases["lr"], biases["momentum"], biases["orthogonal"]) == (0.1, 0.9, False)
    assert (heads["lr"], heads["momentum"], heads["orthogonal"]) == (0.1, 0.9, False)
    assert [group["weight_decay"] for group in (filters, biases, heads)] == [0, 0, SETTINGS.weight_decay]
    given = {id(values) for group in (filters, biases, heads) for values in group["params"]}
    assert given == {id(values) for values in model.parameters() if values.requires_grad}


def test_filters_are_drawn_as_he_et_al_do(surrogate_set: SurrogateSet) -> None:
    """A variance of 2 over the number of inputs of a filter."""
    for layer in learner(surrogate_set).trunk.encoder.convolutions():
        expected = (2 / layer.weight[0].numel()) ** 0.5
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.1)


def test_batch_normalisation_normalises_every_channel_and_remembers_it() -> None:
    """Mean 0 and variance 1 over a batch, plus the bias; in evaluation by the average of mean and unbiased variance."""
    maps = 3 + 2 * torch.randn(16, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    norm = BatchNorm(2, learns_bias=True).train()
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([0.5, -1.0]))
        normal = norm(maps)
        torch.testing.assert_close(normal.mean((0, 2, 3)), norm.bias.detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(normal.var((0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)
        mean, variance = norm.average()
        torch.testing.assert_close(mean, maps.mean((0, 2, 3)))
        torch.testing.assert_close(variance, maps.var((0, 2, 3)))
        running = (maps - mean[:, None, None]) / variance.sqrt()[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(norm.eval()(maps), running, atol=1e-4, rtol=0)
