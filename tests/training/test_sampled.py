"""A softmax over some classes at a time: equal to the whole where all are drawn, and to itself after a kill."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import DRAW, MODEL, SETTINGS, same_weights, sampled, timeless, training
from torch.nn import functional

from exemplar.methods import exemplar
from exemplar.models.architecture import parse
from exemplar.runtime.device import Compute
from exemplar.surrogate import build
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds
from exemplar.surrogate.sets import SurrogateSet, measure_mean
from exemplar.training import candidates
from exemplar.training.contract import TrainInputs
from exemplar.training.learner import ClassLearner, Learner
from exemplar.training.loop import measure, train_step
from exemplar.training.muon import Muon
from exemplar.training.rows import LazyRows, momentum_name, still_step
from exemplar.training.sampled import Sampled
from exemplar.training.state import TrainState

CLASSES = 60
SHORT = replace(SETTINGS, epochs=2)


@pytest.fixture(scope="module")
def many(geometric: Ranges) -> SurrogateSet:
    """Four samples of each of 60 classes, coloured squares all of them."""
    images = np.random.default_rng(0).integers(0, 256, (CLASSES, 3, 5, 5), np.uint8).repeat(16, 2).repeat(16, 3)
    seeds = Seeds(image=np.arange(CLASSES), centre=np.full((CLASSES, 2), 40.0), side=np.full(CLASSES, 36.0))
    built, _ = build.build(images, seeds, samples=4, ranges=geometric, random_seed=0)
    return built


def first_of(data: SurrogateSet, classes: int) -> SurrogateSet:
    """The set of the first classes."""
    by_class = ("window_index", "label", "centre", "side")
    return replace(data, **{name: getattr(data, name)[:classes] for name in by_class})


def whole(data: SurrogateSet, recipe: str) -> ClassLearner:
    """The network of `sampled` with all classes in its heads, whose rows start alike."""
    generator, mean = torch.Generator().manual_seed(0), measure_mean(data, device=torch.device("cpu"))
    network = DRAW[recipe](parse(MODEL), len(data.label), mean=mean, generator=generator)
    assert isinstance(network, ClassLearner)
    return network


def start_alike(network: ClassLearner, other: Sampled, data: SurrogateSet) -> None:
    """Give one, as it begins, the rows of the other; those of `fast` start from samples."""
    network.train().begin(data)
    with torch.no_grad():
        for (weights, spread), table in zip(network.rows(), other.tables, strict=True):
            if spread or not weights.any():
                weights.copy_(table.weights[:-1].view_as(weights))
            else:
                table.weights[:-1] = weights.view_as(table.weights[:-1])


def settled_rows(model: Sampled) -> list[torch.Tensor]:
    """The rows of all classes at this moment, for each head."""
    index = torch.arange(model.classes)
    return [table.settled(index, model.waited(index))[0] for table in model.tables]


def losses(model: Learner, data: SurrogateSet, compute: Compute) -> Iterator[float]:
    """Of 24 steps of a training, at all its learning rates."""
    model.train()
    state = TrainState(model, SETTINGS)
    for step in range(24):
        torch.manual_seed(step)  # for dropout
        state.set_rate((step + 1) / 25)
        yield float(train_step(state, data, (torch.arange(16) * 7 + step * 11) % len(data), compute=compute).loss)


def assert_same_filters(ours: Sampled, theirs: ClassLearner, *, most: float) -> None:
    """No weight of the networks differs by more; the statistics that `fast` folds into them start differently."""
    rows = heads_of(theirs)
    for name, weights in theirs.named_parameters():
        if name not in rows:
            torch.testing.assert_close(ours.network.get_parameter(name), weights, rtol=0, atol=most)


@pytest.mark.parametrize("recipe", DRAW)
def test_with_all_classes_drawn_it_is_the_whole_softmax(many: SurrogateSet, compute: Compute, recipe: str) -> None:
    """Losses, rows and the network's weights agree but for rounding, while the learning rate changes."""
    ours, theirs = sampled(many, recipe=recipe, negatives=CLASSES), whole(many, recipe)
    start_alike(theirs, ours, many)
    expected = list(losses(theirs, many, compute))
    assert list(losses(ours, many, compute)) == pytest.approx(expected, rel=5e-5)
    for rows, (weights, _) in zip(settled_rows(ours), theirs.rows(), strict=True):
        torch.testing.assert_close(rows, weights.detach().reshape(CLASSES, -1), rtol=1e-3, atol=1e-4)
    assert_same_filters(ours, theirs, most=1e-5)


def losses_in_float64(model: ClassLearner | Sampled, data: SurrogateSet) -> Iterator[float]:
    """The same, in float64 and under the recipe `release`."""
    model.double().train()
    state = TrainState(model, SETTINGS)
    for step in range(24):
        torch.manual_seed(step)  # for dropout
        state.set_rate((step + 1) / 25)
        indices = (torch.arange(16) * 7 + step * 11) % len(data)
        model.begin_step(data, indices, state.optimizer)
        samples, targets = data.render(indices)
        if isinstance(model, ClassLearner):
            loss = functional.cross_entropy(model.scores(model.read(samples.double()))[0], targets)
        else:
            loss = model((samples.double(), targets)).loss
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        model.end_step(state.optimizer)
        yield float(loss.detach())


def test_in_float64_it_is_the_whole_softmax_to_twelve_digits(many: SurrogateSet) -> None:
    """Momentum, decay and biases included; rows and the network's weights too."""
    ours, theirs = sampled(many, negatives=CLASSES), whole(many, "release")
    start_alike(theirs, ours, many)
    expected = list(losses_in_float64(theirs, many))
    assert list(losses_in_float64(ours, many)) == pytest.approx(expected, rel=1e-12)
    for rows, (weights, _) in zip(settled_rows(ours), theirs.rows(), strict=True):
        torch.testing.assert_close(rows, weights.detach().reshape(CLASSES, -1), rtol=0, atol=1e-12)
    assert_same_filters(ours, theirs, most=1e-12)


def optimizer_of(weights: torch.nn.Parameter, *, nesterov: bool) -> torch.optim.Optimizer:
    """SGD of the release, or of the recipe `fast`."""
    groups = [{"params": [weights], "lr": 0.1, "weight_decay": 0.02}]
    return Muon(groups, momentum=0.9) if nesterov else torch.optim.SGD(groups, momentum=0.9)


@pytest.mark.parametrize("nesterov", [False, True])
def test_rows_that_waited_are_where_every_single_step_would_have_brought_them(nesterov: bool, compute: Compute) -> None:
    """1,000 steps at rates that change, 5 of 40 rows met in each: the same rows as those that take all steps."""
    generator, longest = torch.Generator().manual_seed(0), 200
    table = LazyRows(40, 3, longest=longest, compute=compute).double()
    table.weights[:40] = torch.randn(40, 3, generator=generator)
    dense, places = (torch.nn.Parameter(torch.zeros(count, 3).double()) for count in (40, 5))
    dense.data.copy_(table.weights[:40])
    by_step, lazily = (optimizer_of(each, nesterov=nesterov) for each in (dense, places))
    at, name = torch.zeros(40, dtype=torch.int64), momentum_name(lazily)
    for step in range(1000):
        for optimizer in (by_step, lazily):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 1300) * (step > 50)
        met, gradient = torch.randperm(40, generator=generator)[:5], torch.randn(5, 3, generator=generator).double()
        assert (step - at[met]).max() <= longest
        places.data, lazily.state[places][name] = table.settled(met, step - at[met])
        places.grad, dense.grad = gradient.clone(), torch.zeros_like(dense).index_copy(0, met, gradient)
        by_step.step()
        lazily.step()
        table.put(met, places.data, lazily.state[places][name])
        table.pass_step(still_step(lazily.param_groups[0], nesterov=nesterov))
        at[met] = step + 1
    found, momentum = table.settled(torch.arange(40), 1000 - at)
    torch.testing.assert_close(found, dense.data, rtol=0, atol=1e-10)
    torch.testing.assert_close(momentum, by_step.state[dense][name], rtol=0, atol=1e-10)


def test_any_number_of_processes_sees_the_rows_that_one_sees(compute: Compute) -> None:
    """Which classes a step draws depends on no process; of 1, 2 and 5 each row is one's own, drawn as by one."""
    found = candidates.choose(
        torch.tensor([3, 22, 3, 7]), candidates.strata(23, 8, device=compute.device), places=12, key=0, step=1
    )
    for processes in (1, 2, 5):
        tables = [
            LazyRows(23, 3, longest=4, compute=replace(compute, rank=rank, processes=processes))
            for rank in range(processes)
        ]
        for table in tables:
            table.draw(1.0, torch.Generator().manual_seed(0))
        owned = torch.stack([table.place(found.index) < table.own for table in tables])
        assert torch.equal(owned.sum(0), (found.index < 23).long())
        seen = sum(table.rows[table.place(found.index)] for table in tables)
        alone = seen if processes == 1 else alone
        assert torch.equal(seen, alone)


@pytest.mark.parametrize("recipe", DRAW)
def test_no_row_waits_longer_than_the_table_of_products(many: SurrogateSet, compute: Compute, recipe: str) -> None:
    """Even where one class is drawn in a step; the row of no class stays 0."""
    model = sampled(many, recipe=recipe, negatives=1)
    model.turns, model.in_turn = 16, 4
    for _ in training(model, many, compute, SHORT):
        assert (model.waited(torch.arange(CLASSES + 1)) <= 16).all()
    assert not any(table.weights[-1].any() or table.momentum[-1].any() for table in model.tables)


@pytest.mark.parametrize("recipe", DRAW)
def test_an_interrupted_training_goes_on_bit_for_bit(
    many: SurrogateSet, compute: Compute, tmp_path: Path, recipe: str
) -> None:
    """With the same draws; rows are neither settled to be kept nor to be measured."""
    straight, halved, resumed = (sampled(many, recipe=recipe, negatives=7) for _ in range(3))
    records = list(training(straight, many, compute, SHORT))
    next(training(halved, many, compute, SHORT, checkpoint=tmp_path / "state.pt"))
    again = list(training(resumed, many, compute, SHORT, checkpoint=tmp_path / "state.pt"))
    assert timeless(again) == timeless(records)
    assert same_weights(straight, resumed)
    assert straight.steps == resumed.steps == 30


@pytest.mark.parametrize("recipe", DRAW)
def test_rows_that_are_mapped_from_a_file_are_those_in_memory(
    many: SurrogateSet,
    compute: Compute,
    tmp_path: Path,
    recipe: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bit for bit, also after an interruption; one line tells it, and beside the states no file is seen."""
    path, in_memory = tmp_path / "state.pt", sampled(many, recipe=recipe, negatives=7)
    records = list(training(in_memory, many, compute, SHORT))
    monkeypatch.setattr("exemplar.training.rows.SHARE_OF_MEMORY", 0.0)
    capsys.readouterr()
    halved, resumed = (sampled(many, recipe=recipe, negatives=7, checkpoint=path) for _ in range(2))
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("mean: ")]
    assert len(told) == 2
    assert all(line.startswith("the rows of 60 classes and their momenta take 0.00 GB, and ") for line in told)
    next(training(halved, many, compute, SHORT, checkpoint=path))
    assert timeless(list(training(resumed, many, compute, SHORT, checkpoint=path))) == timeless(records)
    assert same_weights(in_memory, resumed)
    assert all(table.is_mapped for table in resumed.tables)
    files = sorted(each.name.split("-")[0] for each in tmp_path.iterdir())
    assert files == ["earlier.pt", *["rows"] * 4, "state.pt"]


def test_a_class_takes_part_from_when_it_is_first_seen(many: SurrogateSet, compute: Compute) -> None:
    """Under `fast` its directions start from a sample of it, by the network of that moment, and then stay.

    The first pass over the seeds sees all of them.
    """
    model = sampled(many, recipe="fast", negatives=20).train()
    state, seen = TrainState(model, SETTINGS), torch.zeros(CLASSES, dtype=torch.bool)
    state.set_rate(0.5)
    for indices in torch.split(torch.randperm(CLASSES, generator=torch.Generator().manual_seed(0)) * 4, 16):
        model.begin_step(many, indices, state.optimizer)
        samples, targets = many.render(indices)
        with torch.no_grad():
            starts = model.network.starts(samples)
            for head, start in zip(model.heads, starts, strict=True):
                torch.testing.assert_close(head[model.now.place(targets)], start, rtol=0, atol=1e-5)
        places, met = model.now.index, ~model.now.log_weight.isinf()
        seen[targets] = True
        assert torch.equal(met, (places < CLASSES) & torch.cat([seen, torch.zeros(1, dtype=torch.bool)])[places])
        model((samples, targets)).loss.backward()
        state.optimizer.step()
        model.end_step(state.optimizer)
    assert all(rows.any(1).all() for rows in settled_rows(model))
    before = settled_rows(model)
    model.begin_step(many, torch.arange(16) * 4, state.optimizer)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(settled_rows(model), before, strict=True))


def test_a_class_of_several_seeds_starts_from_the_first_that_is_seen(many: SurrogateSet) -> None:
    """In the order of the batch, however many of its seeds are in it."""
    pairs, few = replace(many, label=torch.arange(CLASSES) // 2), first_of(many, 30)
    model = sampled(few, recipe="fast", negatives=8, batch_size=8).train()
    indices = torch.tensor([5, 4, 9, 8, 12, 13, 21, 20]) * 4
    model.begin_step(pairs, indices, TrainState(model, SETTINGS).optimizer)
    samples, targets = pairs.render(indices)
    with torch.no_grad():
        start = model.network.starts(samples)[0]
    assert targets.tolist() == [2, 2, 4, 4, 6, 6, 10, 10]
    torch.testing.assert_close(model.tables[0].weights[[2, 4, 6, 10]], start[::2], rtol=0, atol=1e-5)
    assert not model.tables[0].weights[-1].any()


@pytest.mark.parametrize("recipe", DRAW)
def test_scores_are_among_all_classes(many: SurrogateSet, compute: Compute, recipe: str) -> None:
    """Of an epoch's record; among the classes that a step sees more samples are right, and that has its own name."""
    model = sampled(many, recipe=recipe, negatives=7)
    *_, last = training(model, many, compute, SHORT)
    network, rows = whole(many, recipe), settled_rows(model)
    network.load_state_dict({**model.network.state_dict(), **heads_of(network)})
    with torch.no_grad():
        for (weights, _), settled in zip(network.rows(), rows, strict=True):
            weights.copy_(settled.view_as(weights))
    assert last.score == pytest.approx(measure(network, many, compute)["score"], abs=1e-6)
    assert last.held_out_score == pytest.approx(measure(network, many.unseen(), compute)["score"], abs=1e-6)
    assert last.chance == 1 / CLASSES
    assert last.score < last.further["score_among_drawn"]
    samples, targets = many.render(torch.arange(0, 240, 9))
    with torch.no_grad():
        assert torch.equal(*(each.eval().answered(samples) for each in (model, network)))
        losses = [each.eval()((samples, targets)).loss for each in (model, network)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # which would keep the first rows that a head held
        reduced = model((samples, targets)).loss
    assert float(reduced) == pytest.approx(float(losses[0]), rel=0.02)


def heads_of(network: ClassLearner) -> dict[str, torch.Tensor]:
    """The part of a network's state that has a row for each class."""
    rows = {id(weights) for weights, _ in network.rows()}
    return {name: value.detach() for name, value in network.named_parameters() if id(value) in rows}


def test_a_score_is_measured_on_rows_that_are_spread_evenly(many: SurrogateSet, compute: Compute) -> None:
    """As many as the learner says, or a few less."""
    model, seen = sampled(many), list[int]()
    model.measured = 100

    class Noting(SurrogateSet):
        def render(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.extend(indices.tolist())
            return super().render(indices)

    measure(model, Noting(**vars(many)), compute)
    assert seen == list(range(0, 240, 3))


@pytest.mark.parametrize("recipe", DRAW)
def test_a_score_passes_over_the_rows_once(
    many: SurrogateSet, compute: Compute, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches are measured; it is the same score."""
    model, passed = sampled(many, recipe=recipe), list[int]()

    def fill(index: torch.Tensor) -> list[torch.Tensor]:
        passed.extend(index.tolist())
        return Sampled.fill(model, index)

    monkeypatch.setattr(model, "fill", fill)
    scores = []
    for count in (256, 20):
        monkeypatch.setattr("exemplar.training.loop.SAMPLES_AT_ONCE", count)
        scores.append(measure(model, many, compute))
        assert passed == list(range(CLASSES))
        passed.clear()
    assert scores[0] == scores[1]


@pytest.mark.parametrize("recipe", DRAW)
def test_what_processes_exchange_does_not_grow_with_the_classes(many: SurrogateSet, recipe: str) -> None:
    """Gradients are those of filters and of the heads' places."""
    sets = (first_of(many, 20), many)
    sizes = [[weights.numel() for weights in sampled(data, recipe=recipe).parameters()] for data in sets]
    assert sizes[0] == sizes[1]


def length_before_the_fourth_visit(classes: int, decay: float) -> float:
    """Of a row that gets the same gradient whenever its class is in a batch of 128, at a rate of 0.03."""
    group = {"lr": 0.03 * 0.25, "weight_decay": decay, "momentum": 0.9}
    matrix = torch.tensor(still_step(group, nesterov=False), dtype=torch.float64)
    waiting = torch.linalg.matrix_power(matrix, classes // 128)
    row = torch.zeros(2, dtype=torch.float64)
    for _ in range(3):
        row = waiting @ (row + torch.tensor([-group["lr"], 1.0], dtype=torch.float64))
    return abs(float(row[0]))


def test_decay_leaves_as_much_of_a_class_among_a_million_as_among_16000(compute: Compute) -> None:
    """The release's own would leave less than a thousandth between two visits."""
    decays = []
    for classes in (16_000, 1_000_000):
        generator = torch.Generator().manual_seed(0)
        network = DRAW["release"](parse("4c5-4c5-2f"), 4, mean=torch.zeros(3, 32, 32), generator=generator)
        model = Sampled(network, classes, negatives=2, key=0, generator=generator, compute=compute)
        decays.append(model.optimizer(SETTINGS).param_groups[-2]["weight_decay"])
    assert decays == pytest.approx([4 * 0.004, 4 * 0.004 * 0.016])
    few, million = (length_before_the_fourth_visit(*each) for each in zip((16_000, 1_000_000), decays, strict=True))
    assert 0.5 < million / few < 2
    assert length_before_the_fourth_visit(1_000_000, decays[0]) < 1e-3 * few


@pytest.mark.parametrize("recipe", DRAW)
def test_the_setting_decides_whether_classes_are_drawn(many: SurrogateSet, compute: Compute, recipe: str) -> None:
    """Without it, or with as many as there are, the network is the one that sees all of them."""
    inputs = TrainInputs(
        architecture=parse(MODEL),
        surrogate=many,
        mean=torch.full((3, 32, 32), 0.5),
        images=many.windows.numpy(),
        options={},
        settings=replace(SETTINGS, epochs=1),
        recipe=recipe,
        random_seed=0,
        compute=compute,
    )
    for negatives in (None, CLASSES, CLASSES + 1):
        model = exemplar.untrained(replace(inputs, settings=replace(SETTINGS, negatives=negatives)))
        assert type(model) is type(whole(many, recipe))
        assert len(model.rows()[0][0]) == CLASSES
    fitting = exemplar.fit(replace(inputs, settings=replace(inputs.settings, negatives=CLASSES - 1)))
    (epoch,) = fitting.epochs
    assert set(epoch.further) == {"score_among_drawn"}
    assert fitting.finish().model == MODEL
    assert fitting.examples()
