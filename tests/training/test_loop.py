"""The one loop: its schedule, its multipliers, and that it gives the same weights every time."""

import csv
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SETTINGS, classifier, same_weights, timeless, training

from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder, draw_head
from exemplar.runtime.device import Compute, enough_memory
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.training import loop
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Epoch, Settings
from exemplar.training.loop import STEPS_BETWEEN_NUMBERS, fit
from exemplar.training.record import save_curve
from exemplar.training.schedule import parameter_groups, rate_factor
from exemplar.training.state import TrainState
from exemplar.training.watch import smaller_batches


@pytest.fixture
def data(surrogate_set: SurrogateSet) -> SurrogateSet:
    """60 samples of three classes."""
    return surrogate_set


def test_the_learning_rate_falls_as_in_the_release() -> None:
    """1.2 million steps, twice 120 thousand, twice 60 thousand: factors 0.4, 0.25, 0.4, 0.25 (paper.md, section 5)."""
    total, start, factor = 1_560_000, 0, 1.0
    for steps, change in [(1_200_000, 1), (120_000, 0.4), (120_000, 0.25), (60_000, 0.4), (60_000, 0.25)]:
        factor *= change
        for step in (start, start + steps - 1):
            assert rate_factor(step / total) == pytest.approx(factor)
        start += steps
    assert start == total


def test_every_layer_has_the_releases_multipliers(data: SurrogateSet) -> None:
    """Base decay 0.004 becomes 0, 0, 0.001, 0.004 and 0.016; biases learn twice as fast, the head's weights slower."""
    generator = torch.Generator().manual_seed(0)
    encoder = draw_encoder(parse("4c5-4c5-4c5-4c5-8f-8f"), mean=torch.zeros(3, 32, 32), generator=generator)
    head = draw_head(8, 3, generator=generator)
    groups = parameter_groups(encoder, head, learning_rate=0.01, weight_decay=0.004)
    weights, biases = groups[::2], groups[1::2]
    decays = [0, 0, 0.001, 0.001, 0.004, 0.004, 0.016]
    assert [group["weight_decay"] for group in weights] == pytest.approx(decays)
    assert [group["lr"] for group in weights] == pytest.approx([0.01] * 6 + [0.0025])
    assert {(group["lr"], group["weight_decay"]) for group in biases} == {(0.02, 0.0)}
    given = [id(value) for group in groups for value in group["params"]]
    assert sorted(given) == sorted(id(value) for module in (encoder, head) for value in module.parameters())


def test_classes_that_differ_in_colour_are_learnt(data: SurrogateSet, compute: Compute) -> None:
    """The loss starts at that of guessing and falls; nearly all samples are classified right."""
    epochs = list(training(classifier(data), data, compute, replace(SETTINGS, epochs=12)))
    assert epochs[0].loss == pytest.approx(1.1, abs=0.15)
    assert epochs[-1].loss < 0.4
    assert epochs[-1].score > 0.85
    assert [epoch.epoch for epoch in epochs] == list(range(1, 13))
    assert epochs[0].learning_rate == 0.1
    assert epochs[-1].learning_rate == pytest.approx(0.001)


def test_two_trainings_give_the_same_weights(data: SurrogateSet, compute: Compute) -> None:
    """Bit for bit, with the same records; another draw of the weights gives others."""
    one, again, other = classifier(data), classifier(data), classifier(data, random_seed=1)
    records = [timeless(list(training(method, data, compute))) for method in (one, again, other)]
    assert same_weights(one, again)
    assert records[0] == records[1]
    assert not same_weights(one, other)


@pytest.mark.parametrize("done", [1, 3, 4])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    data: SurrogateSet, compute: Compute, tmp_path: Path, done: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit, and all records are yielded again, whichever epoch was the last.

    A line says that it goes on, unless it had ended.
    """
    whole, first, second = classifier(data), classifier(data), classifier(data)
    expected = list(training(whole, data, compute))
    begun = training(first, data, compute, checkpoint=tmp_path / "state.pt")
    seen = [next(begun) for _ in range(done)]
    begun.close()
    assert "goes on" not in capsys.readouterr().err
    resumed = list(training(second, data, compute, checkpoint=tmp_path / "state.pt"))
    assert ("goes on after" in capsys.readouterr().err) == (done < SETTINGS.epochs)
    assert same_weights(whole, second)
    assert timeless(resumed[:done]) == timeless(seen)
    assert timeless(resumed) == timeless(expected)


def test_epochs_are_yielded_as_they_end(data: SurrogateSet, compute: Compute, tmp_path: Path) -> None:
    """Whoever draws the records decides how far the training goes; nothing happens before the first is drawn."""
    method, untrained = classifier(data), classifier(data)
    epochs = training(method, data, compute, checkpoint=tmp_path / "state.pt")
    assert same_weights(method, untrained)
    assert not (tmp_path / "state.pt").exists()
    assert next(epochs).epoch == 1
    assert len(torch.load(tmp_path / "state.pt")["epochs"]) == 1
    assert not same_weights(method, untrained)


def test_a_loss_that_is_not_finite_is_told(data: SurrogateSet, compute: Compute, tmp_path: Path) -> None:
    """In one line, with the learning rate; no checkpoint keeps the broken weights."""
    settings = replace(SETTINGS, learning_rate=1e9)
    with pytest.raises(UserError, match=r"the loss is nan in epoch 1 with learning_rate 1000000000\.0") as said:
        list(training(classifier(data), data, compute, settings, checkpoint=tmp_path / "state.pt"))
    assert "\n" not in str(said.value)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_is_noticed_inside_the_epoch(data: SurrogateSet, compute: Compute) -> None:
    """Not at its end: of 60 steps at most 20 are taken in vain. The weights were finite and large."""
    method, settings = classifier(data), replace(SETTINGS, batch_size=1)
    with torch.no_grad():
        method.head.scores.weight.mul_(1e38)
    steps: list[int] = []
    method.register_forward_pre_hook(lambda *_: steps.append(1))
    with pytest.raises(UserError, match=r"the loss is (nan|inf) in epoch 1 with learning_rate 0\.1; lower train\."):
        list(training(method, data, compute, settings))
    assert len(steps) <= 1 + STEPS_BETWEEN_NUMBERS


def test_the_last_good_checkpoint_stays(data: SurrogateSet, compute: Compute, tmp_path: Path) -> None:
    """A weight that is not finite stops the training before it is written, also where the loss does not show it."""
    path, method = tmp_path / "state.pt", classifier(data)
    epochs = training(method, data, compute, checkpoint=path)
    next(epochs)
    good = path.read_bytes()
    with torch.no_grad():
        method.encoder.layers[0].bias[0] = -torch.inf  # its rectifier is shut, so nobody sees it
    with pytest.raises(UserError, match=r"a weight of encoder\.layers\.0\.bias is not finite in epoch 2 with"):
        next(epochs)
    assert path.read_bytes() == good


def test_a_dead_network_is_told(data: SurrogateSet, compute: Compute) -> None:
    """With all rectifiers of a layer shut every image gets the same scores, for ever."""
    method = classifier(data)
    with torch.no_grad():
        method.encoder.layers[1].bias.fill_(-1e3)
    settings = replace(SETTINGS, section="finetune")
    with pytest.raises(UserError, match=r"^test: no gradient reached the first layer.* lower finetune\.learning_rate"):
        list(training(method, data, compute, settings))


def test_a_network_that_does_not_learn_yet_is_not_dead(data: SurrogateSet, compute: Compute) -> None:
    """All samples may have the same class for epochs while gradients are small."""
    epochs = list(training(classifier(data), data, compute, replace(SETTINGS, learning_rate=1e-9)))
    assert [round(epoch.loss, 1) for epoch in epochs] == [1.1] * 4


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"batch_size": 64}, r"lower train\.batch_size from 64 to 32"),
        ({"batch_size": 64, "section": "finetune.choices"}, r"lower finetune\.batch_size from 64 to 32"),
        ({"batch_size": 14, "stated_batch": 128}, r"lower train\.batch_size from 128 to 64"),
        ({"batch_size": 1}, r"train\.batch_size 1 gives the smallest steps there are; choose a smaller model"),
        (
            {"batch_size": 8, "stated_batch": 64},
            r"train\.batch_size 64 gives the smallest steps there are; .*",
        ),
    ],
)
def test_memory_that_does_not_suffice_is_told_with_the_setting(changes: dict[str, Any], advice: str) -> None:
    """PyTorch's own error on the CPU becomes one line with the number of params.yaml; others stay what they are."""
    settings = replace(SETTINGS, **changes)
    with pytest.raises(UserError, match=f"^out of memory: {advice}$"), enough_memory(smaller_batches(settings)):
        torch.empty(2**55)
    with pytest.raises(RuntimeError, match="must match"), enough_memory(""):
        torch.ones(2) + torch.ones(3)


def test_too_little_memory_for_a_network_is_told(
    data: SurrogateSet, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first step, with what to choose otherwise."""
    model = classifier(data)
    monkeypatch.setattr(model, "begin", lambda _: torch.empty(2**55))
    line = "^out of memory: test: network and samples; choose a smaller model, end what else takes memory on cpu$"
    with pytest.raises(UserError, match=line):
        next(fit(model, data, SETTINGS, compute=compute, random_seed=0, label="test"))


@pytest.mark.parametrize("fused", [[None, True], [True, None]])
def test_momenta_go_from_a_gpus_optimizer_to_the_cpus_and_back(fused: list[bool | None]) -> None:
    """With and without PyTorch's fused steps SGD has the same state; the next step differs by rounding at most."""
    weights = [torch.nn.Parameter(torch.ones(4, 3)) for _ in fused]
    one, other = (
        torch.optim.SGD([{"params": [each], "lr": 0.1, "weight_decay": 0.01}], momentum=0.9, fused=kind)
        for each, kind in zip(weights, fused, strict=True)
    )
    for step in range(3):
        if step == 2:
            other.load_state_dict(deepcopy(one.state_dict()))
            weights[1].data.copy_(weights[0].data)
        for each in weights:
            each.grad = torch.full((4, 3), 1.0 + step)
        one.step(), other.step()
    torch.testing.assert_close(weights[0], weights[1])


def test_a_broken_checkpoint_says_what_to_do(data: SurrogateSet, compute: Compute, tmp_path: Path) -> None:
    """Cut short, empty, of another program or of another network: one line, and the file is left to the user."""
    path = tmp_path / "state.pt"
    next(training(classifier(data), data, compute, checkpoint=path))
    foreign = tmp_path / "foreign.pt"
    torch.save({"weights": torch.zeros(3)}, foreign)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint", foreign.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot read the checkpoint .*; remove .* to train") as said:
            next(training(classifier(data), data, compute, checkpoint=path))
        assert "\n" not in str(said.value)
        assert path.read_bytes() == content


def test_a_checkpoint_that_another_machine_does_not_see_is_told(
    data: SurrogateSet, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process of a training reads the one that process 0 has found; one line names the process and the file."""
    monkeypatch.setattr("exemplar.runtime.collective.same_path", lambda *_: tmp_path / "state.pt")
    state, second = TrainState(classifier(data), SETTINGS), replace(compute, rank=1, processes=2)
    with pytest.raises(
        UserError, match=r"^process 1 cannot read the checkpoint .*state\.pt \(No such file or directory\)"
    ):
        loop.same_start(state, None, second)


def test_a_curve_is_a_table_with_a_row_per_epoch_and_without_its_speed(tmp_path: Path) -> None:
    """The same training leaves the same file on a slower machine; without epochs there is the head alone."""
    epochs = [Epoch(number, 2.0 / number, 0.5, 0.4, 0.3, 0.1, 60, 900.0, further={"skill": 0.2}) for number in (1, 2)]
    for records, more in ((epochs, ["skill"]), ([], [])):
        save_curve(records, tmp_path / "made")
        with (tmp_path / "made" / "curve.csv").open(newline="") as file:
            head, *rows = csv.reader(file)
        own = ["epoch", "loss", "score", "held_out_score", "chance", "learning_rate", "encoder_passes"]
        assert head == own + more
        expected = [
            [number, loss, "0.5", "0.4", "0.3", "0.1", "60", "0.2"] for number, loss in (("1", "2.0"), ("2", "1.0"))
        ]
        assert rows == expected[: len(records)]


def orders(
    data: SurrogateSet, compute: Compute, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> list[list[int]]:
    """The samples of every epoch of a training, in the order in which they are learnt."""
    seen, learn = [], loop.train_epoch

    def noting(state: TrainState, some: SurrogateSet, order: torch.Tensor, *given: Any, **more: Any) -> Epoch:
        seen.append(order[:].tolist())
        return learn(state, some, order, *given, **more)

    monkeypatch.setattr(loop, "train_epoch", noting)
    list(training(classifier(data), data, compute, settings))
    return seen


def test_every_epoch_has_every_sample_in_an_order_of_its_own(
    data: SurrogateSet, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once; no two epochs draw the same order."""
    seen = orders(data, compute, SETTINGS, monkeypatch)
    assert all(sorted(order) == list(range(60)) for order in seen)
    assert len({tuple(order) for order in seen}) == SETTINGS.epochs


def test_new_samples_are_a_share_of_the_set_for_every_epoch(
    data: SurrogateSet, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four epochs of 60 samples learn 15 each, the next 15 every time."""
    seen = orders(data, compute, replace(SETTINGS, new_samples=True), monkeypatch)
    assert [sorted(order) for order in seen] == [list(range(first, first + 15)) for first in (0, 15, 30, 45)]


def test_held_out_score_is_that_of_the_samples_that_are_not_trained_on(data: SurrogateSet, compute: Compute) -> None:
    """Measured after the epoch and without dropout; a set that holds nothing out has none."""
    model = classifier(data)
    *_, last = training(model, data, compute)
    samples, targets = data.unseen().render(torch.arange(3))
    with torch.no_grad():
        right = model.eval()((samples, targets)).score
    assert last.held_out_score == pytest.approx(int(right) / 3)
    nothing = replace(data, held_out=0)
    assert next(training(classifier(data), nothing, compute)).held_out_score is None


class Careless(Classifier):
    """A learner whose writer forgot something."""

    def optimizer(self, settings: Settings) -> torch.optim.Optimizer:
        """The head is left out."""
        return torch.optim.SGD(self.encoder.parameters(), lr=settings.learning_rate)


def test_a_weight_that_the_optimizer_does_not_have_is_an_error(data: SurrogateSet, compute: Compute) -> None:
    """It would stay as it was drawn; the line names it."""
    model = classifier(data)
    with pytest.raises(TypeError, match=r"Careless.optimizer has head.scores.weight 0 times"):
        next(training(Careless(model.encoder, model.head), data, compute))


def test_a_draw_inside_forward_is_an_error(data: SurrogateSet, compute: Compute) -> None:
    """Processes that share a batch would draw apart; only what draws for the whole batch may say so."""
    model = classifier(data)
    model.draws = False
    with pytest.raises(TypeError, match=r"Classifier.forward draws"):
        next(training(model, data, compute))


def test_what_a_subclass_of_a_set_adds_goes_along_to_the_device(data: SurrogateSet) -> None:
    """A set that renders in its own way is not turned into one that does not."""

    @dataclass(frozen=True)
    class Darker(SurrogateSet):
        def render(self, indices: torch.Tensor) -> Batch:
            samples, labels = super().render(indices)
            return samples / 2, labels

    darker = Darker(**{field.name: getattr(data, field.name) for field in fields(data)})
    some = torch.arange(4)
    assert torch.equal(darker.to(torch.device("cpu")).render(some)[0], data.render(some)[0] / 2)
    assert torch.equal(darker.unseen().render(some[:3])[0], data.unseen().render(some[:3])[0] / 2)
