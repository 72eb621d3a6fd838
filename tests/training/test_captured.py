"""A captured step does what the step does: shown on the CPU, by what stands for a CUDA graph there (recording.py)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from recording import Recorder, StoppedError, Watcher, refuse
from torch.utils._pytree import tree_flatten

from benchmarks import material
from benchmarks.launches import OnAGpu
from exemplar.errors import UserError
from exemplar.methods.exemplar import RECIPES
from exemplar.models.architecture import parse
from exemplar.params.names import names_in
from exemplar.params.options import load_options
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import Batch
from exemplar.training import checkpoints
from exemplar.training.captured import STEPS_BEFORE, SWITCH, Capture, Steps, chosen
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Settings
from exemplar.training.labeled import LabelClassifier
from exemplar.training.learner import Learner, Outcome, Samples
from exemplar.training.loop import fit
from exemplar.training.muon import Muon
from exemplar.training.state import TrainState, reads_there

TASKS = names_in("methods", having=r"^def draw\(")
MEAN = torch.full((3, 32, 32), 0.5)
CLASSES, SAMPLES, BATCH = 6, 6, 8
# 36 rows an epoch: four batches and one of four rows. Of eight whole batches three are done before the capture.
SETTINGS = Settings(epochs=2, batch_size=BATCH, learning_rate=0.1, momentum=0.9, weight_decay=0.004)
REPLAYS = 8 - STEPS_BEFORE
Draw = Callable[[], tuple[Learner, Samples]]
State = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Several would spend most of these small steps on waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], State]:
    """What a training in float32 leaves whose steps are replayed, by its name; each is done once."""

    @cache
    def replayed(name: str) -> State:
        return trained(name, FLOAT32, tmp_path_factory.mktemp(name), Recorder())

    return replayed


def fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """SGD as it is on a GPU: one operation for each group, which reads the rate where it lies."""
    for group in optimizer.param_groups:
        group["fused"] = True
    return optimizer


class Fused(Classifier):
    """The release's network with the optimizer that it has on a GPU."""

    def optimizer(self, settings: Settings) -> torch.optim.Optimizer:
        """Ten groups."""
        return fused(super().optimizer(settings))


class FusedLabels(LabelClassifier):
    """What fine-tuning trains, with the optimizer that it has on a GPU."""

    def optimizer(self, settings: Settings) -> torch.optim.Optimizer:
        """Two groups."""
        return fused(super().optimizer(settings))


def recipe(name: str) -> tuple[Learner, Samples]:
    """A network of a recipe, and the samples that it learns."""
    model = RECIPES[name](parse(small.MODEL), CLASSES, mean=MEAN, generator=torch.Generator().manual_seed(0))
    data = material.surrogate_set(CLASSES, SAMPLES)
    return (Fused(model.encoder, model.head) if isinstance(model, Classifier) else model), data


def labels() -> tuple[Learner, Samples]:
    """A network that learns labels."""
    model, data = recipe("release")
    assert isinstance(model, Classifier)
    return FusedLabels(model.encoder, model.head), data


def task(name: str) -> tuple[Learner, Samples]:
    """A network of a pretext task, and as many rows for each epoch, and some that are held out."""
    file, options = import_module(f"exemplar.methods.{name}"), load_options(name, small.PUBLISHED[name])
    learnt, unseen = (
        file.draw(small.PICTURES, options, count=count, generator=torch.Generator().manual_seed(count))
        for count in (2 * CLASSES * SAMPLES, BATCH)
    )
    data = replace(learnt, held_out=unseen)
    generator = torch.Generator().manual_seed(0)
    return file.build(parse(small.MODEL), data, options, mean=MEAN, generator=generator), data


LEARNERS: Mapping[str, Draw] = {
    **{name: partial(recipe, name) for name in RECIPES},
    "labels": labels,
    **{name: partial(task, name) for name in TASKS},
}


def trained(name: str, compute: Compute, folder: Path, capture: Capture | None, *, kind: type[Fused] = Fused) -> State:
    """What a training leaves: weights, averages, momenta, and records without their speed."""
    model, data = LEARNERS[name]()
    if isinstance(model, Fused):
        model = kind(model.encoder, model.head)
    settings = replace(SETTINGS, new_samples=name in TASKS)
    folder.mkdir(exist_ok=True)
    path = folder / "state.pt"
    for _ in fit(model, data, settings, compute=compute, random_seed=3, label=name, checkpoint=path, capture=capture):
        pass
    state: State = torch.load(path)
    for record in state["epochs"]:
        record.pop("samples_per_second")
    return {key: state[key] for key in ("model", "optimizer", "epochs")}


def differing(one: State, other: State) -> list[str]:
    """Where two states are not equal, bit for bit."""
    (values, names), (others, same_names) = (tree_flatten(state) for state in (one, other))
    assert names == same_names
    equal = [torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(values, others, strict=True)]
    return [str(value) for value, same in zip(values, equal, strict=True) if not same]


FLOAT32 = Compute(torch.device("cpu"), torch.float32)
BFLOAT16 = OnAGpu(torch.device("cpu"), torch.bfloat16)


@pytest.mark.parametrize(
    ("name", "compute"),
    [*((name, FLOAT32) for name in LEARNERS), *((name, BFLOAT16) for name in (*RECIPES, "multi_task"))],
)
def test_replayed_steps_are_steps(
    name: str, compute: Compute, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights, averages, momenta and records are those of steps that are done, bit by bit, for both recipes, labels and
    all tasks: with rates that change, dropout, a smaller batch at the end of each epoch and a measurement after it.

    They are done here because a capture fails, which costs a line and nothing else.
    """
    recorder = Recorder()
    replayed = trained(name, compute, tmp_path / "replayed", recorder)
    assert (recorder.captures, recorder.replays) == (1, REPLAYS)
    assert "captured" not in capsys.readouterr().err
    assert not differing(replayed, trained(name, compute, tmp_path / "done", refuse))
    line = f"{name}: a step cannot be captured as a CUDA graph (operation not permitted when stream is capturing); the"
    assert capsys.readouterr().err.count(line) == 1


@pytest.mark.parametrize("name", [*RECIPES, "colorization", "jigsaw", "multi_task"])
def test_what_a_capture_uses_stays_where_it_is(name: str, tmp_path: Path) -> None:
    """No tensor that is older than the capture is gone at a replay, which would read and write its memory all the same:
    not after an epoch, a measurement or a smaller batch.
    """
    watcher = Watcher()
    trained(name, FLOAT32, tmp_path, watcher)
    assert watcher.replays == REPLAYS
    assert len(watcher.older) > 10


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("most", [1, 3])
def test_an_interrupted_training_goes_on_with_a_capture_of_its_own(
    name: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Callable[[str], State]
) -> None:
    """It ends bit-equal, whether it was interrupted in the first epoch or in the second."""
    uninterrupted = whole(name)
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)  # a state after every step
    monkeypatch.setattr(checkpoints, "SHARE_OF_TIME", 1e9)
    with pytest.raises(StoppedError):
        trained(name, FLOAT32, tmp_path / "cut", Recorder(most))
    resumed = Recorder()
    assert not differing(trained(name, FLOAT32, tmp_path / "cut", resumed), uninterrupted)
    assert resumed.captures == (most == 1)  # after the third fewer than four whole batches are left


def test_a_state_of_captured_steps_is_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Callable[[str], State]
) -> None:
    """Learning rates are numbers in it, and steps that are done go on from it; their rates differ by rounding."""
    replayed = whole("fast")
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE_OF_TIME", 1e9)
    with pytest.raises(StoppedError):
        trained("fast", FLOAT32, tmp_path / "cut", Recorder(2))
    groups = torch.load(tmp_path / "cut" / "state.pt")["optimizer"]["param_groups"]
    assert all(isinstance(group["lr"], float) for group in groups)
    ended = trained("fast", FLOAT32, tmp_path / "cut", None)
    for name, values in replayed["model"].items():
        torch.testing.assert_close(ended["model"][name], values, rtol=1e-3, atol=1e-4)


def test_rates_stay_where_they_are() -> None:
    """A captured step reads them there: also after a state was loaded, whose own rates are numbers."""
    model, _ = recipe("release")
    plain, state = TrainState(model, SETTINGS), TrainState(model, SETTINGS, captured=True)
    places = [group["lr"].data_ptr() for group in state.optimizer.param_groups]
    plain.set_rate(0.9)
    state.load_state_dict(plain.state_dict())
    state.set_rate(0.8)
    plain.set_rate(0.8)
    for group, ours, place in zip(plain.optimizer.param_groups, state.optimizer.param_groups, places, strict=True):
        assert ours["lr"].data_ptr() == place
        assert float(ours["lr"]) == pytest.approx(group["lr"], rel=1e-7)
        assert ours["fused"]


def test_only_an_optimizer_that_reads_rates_on_the_device_has_them_there() -> None:
    """Without a capture: Muon, and those of PyTorch that say so of every group. Others would wait for the device."""
    one, other = (torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(2))
    assert reads_there(recipe("fast")[0].optimizer(SETTINGS))
    assert reads_there(Muon([{"params": [one, other], "lr": 0.1}], momentum=0.9))
    assert reads_there(torch.optim.SGD([one, other], fused=True))
    assert reads_there(torch.optim.Adam([one, other], capturable=True))
    assert not reads_there(torch.optim.Adam([one, other]))
    assert not reads_there(torch.optim.SGD([one, other]))
    assert not reads_there(torch.optim.SGD([{"params": [one], "fused": True}, {"params": [other]}]))


class Counting(Fused):
    """A network whose loss depends on how often it was asked."""

    asked = 0

    def forward(self, batch: Batch) -> Outcome:
        """The loss times a number of the host."""
        self.asked += 1
        outcome = super().forward(batch)
        return replace(outcome, loss=outcome.loss * self.asked)


class Renewing(Fused):
    """A network with a tensor in whose place a smaller batch puts another."""

    factor: torch.Tensor | None = None

    def forward(self, batch: Batch) -> Outcome:
        """The loss times 1."""
        if self.factor is None or len(batch[1]) < BATCH:
            self.factor = batch[0].new_ones(())
        outcome = super().forward(batch)
        return replace(outcome, loss=outcome.loss * self.factor)


class Reading(Fused):
    """A network that reads a number of the device."""

    def forward(self, batch: Batch) -> Outcome:
        """The loss, if it is above 0."""
        outcome = super().forward(batch)
        return outcome if float(outcome.loss.detach()) > 0 else replace(outcome, loss=outcome.loss * 0)


def test_a_number_of_the_host_that_changes_is_seen(tmp_path: Path) -> None:
    """What is compared above would tell: a replay keeps the number of its capture."""
    replayed, done = (
        trained("release", FLOAT32, tmp_path / f"{number}", capture, kind=Counting)
        for number, capture in enumerate((Recorder(), refuse))
    )
    assert differing(replayed, done)


def test_a_tensor_that_is_gone_is_seen(tmp_path: Path) -> None:
    """Here after the first epoch."""
    with pytest.raises(AssertionError, match="a tensor of the capture is gone"):
        trained("release", FLOAT32, tmp_path, Watcher(), kind=Renewing)


def test_a_failed_capture_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also in the middle of a step, where a number of the device is read: one line, and the same weights."""
    recorder = Recorder()
    begun = trained("release", FLOAT32, tmp_path / "begun", recorder, kind=Reading)
    said = capsys.readouterr().err
    assert said.count("cannot be captured as a CUDA graph (aten._local_scalar_dense.default would read a number") == 1
    assert (recorder.captures, recorder.replays) == (0, 0)
    assert not differing(begun, trained("release", FLOAT32, tmp_path / "done", refuse, kind=Reading))


def test_a_capture_that_spoils_the_device_ends_the_training_in_a_line() -> None:
    """With both reasons, the first of each, and what to do."""
    spoilt = []

    def step(indices: torch.Tensor) -> torch.Tensor:
        if spoilt:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        return indices

    def spoil(_: Callable[[], None]) -> Callable[[], None]:
        spoilt.append(True)
        try:
            raise RuntimeError("operation not permitted")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    steps = Steps(step, batch_size=2, capture=spoil, label="test")
    for _ in range(STEPS_BEFORE):
        steps(torch.arange(2))
    line = (
        r"^test: a step could not be captured as a CUDA graph \(operation not permitted\), and none can be done after "
        r"that \(Offset .*\); run it again without EXEMPLAR_CUDA_GRAPH$"
    )
    with pytest.raises(UserError, match=line):
        steps(torch.arange(2))


def test_an_interrupt_inside_a_capture_ends_the_training() -> None:
    """Although what was begun cannot be ended."""

    def interrupted(_: Callable[[], None]) -> Callable[[], None]:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    steps = Steps(lambda indices: indices, batch_size=2, capture=interrupted, label="test")
    for _ in range(STEPS_BEFORE):
        steps(torch.arange(2))
    with pytest.raises(KeyboardInterrupt):
        steps(torch.arange(2))


def test_what_the_caller_is_dealing_with_is_not_the_capture_s(capsys: pytest.CaptureFixture[str]) -> None:
    """It stands behind every error that is raised meanwhile; here an interrupt would end the training."""
    steps = Steps(lambda indices: indices, batch_size=2, capture=refuse, label="test")
    for error in (KeyboardInterrupt, ValueError):
        steps.capture, steps.done = refuse, STEPS_BEFORE
        try:
            raise error("of the caller")
        except (KeyboardInterrupt, ValueError):
            assert len(steps(torch.arange(2))) == 2
        assert "(operation not permitted when stream is capturing)" in capsys.readouterr().err


def test_a_training_that_counts_on_the_host_is_not_captured(capsys: pytest.CaptureFixture[str]) -> None:
    """A line says why, and its result is that of any other machine."""
    data, recorder = material.surrogate_set(CLASSES, SAMPLES), Recorder()
    one, other = small.sampled(data), small.sampled(data)
    list(fit(one, data, SETTINGS, compute=FLOAT32, random_seed=0, label="test", capture=recorder))
    line = "test: no step is captured as a CUDA graph, because train.negatives counts the steps on the host\n"
    assert line in capsys.readouterr().err
    list(fit(other, data, SETTINGS, compute=FLOAT32, random_seed=0, label="test"))
    assert small.same_weights(one, other)
    assert recorder.captures == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [("1", "test: no step is captured as a CUDA graph, because the device is cpu\n"), ("0", ""), ("", "")],
)
def test_only_a_gpu_is_asked(
    value: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By EXEMPLAR_CUDA_GRAPH=1; elsewhere a line says so, and steps are done."""
    monkeypatch.setenv(SWITCH, value)
    model, _ = recipe("fast")
    assert chosen(None, model, FLOAT32, label="test") is None
    assert capsys.readouterr().err == said


def test_processes_that_share_a_training_capture_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """They wait for each other in the middle of a step; one of them says so."""
    model, _ = recipe("fast")
    for rank in range(2):
        assert chosen(Recorder(), model, replace(FLOAT32, rank=rank, processes=2), label="test") is None
    line = "test: no step is captured as a CUDA graph, because several processes share the training\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(("batch_size", "whole_batches"), [(64, 0), (12, STEPS_BEFORE)])
def test_a_training_too_short_for_a_capture_says_so(
    batch_size: int, whole_batches: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, where one was asked for: with batches that are never whole, or too few of them."""
    settings = replace(SETTINGS, epochs=1, batch_size=batch_size)
    line = (
        "test: no step was captured as a CUDA graph, because that takes more than 3 batches of "
        f"{batch_size} rows, and this run had {whole_batches}\n"
    )
    for capture, times in ((Recorder(), 1), (None, 0)):
        model, data = recipe("release")
        list(fit(model, data, settings, compute=FLOAT32, random_seed=0, label="test", capture=capture))
        assert capsys.readouterr().err.count(line) == times


def test_another_value_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is trained."""
    monkeypatch.setenv(SWITCH, "yes")
    model, data = recipe("fast")
    with pytest.raises(UserError, match=f"^{SWITCH} is 'yes'; expected 1, to capture the steps of a GPU"):
        next(fit(model, data, SETTINGS, compute=FLOAT32, random_seed=0, label="test"))
