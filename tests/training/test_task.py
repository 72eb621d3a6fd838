"""What every pretext task has in common."""

from dataclasses import replace

import pytest
import torch
from small import MODEL, PICTURES, PUBLISHED, SETTINGS

from exemplar.errors import UserError
from exemplar.methods import rotation
from exemplar.models.architecture import parse
from exemplar.params.options import load_options
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training import task
from exemplar.training.contract import TrainInputs
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.task import fit_task


def build_hungry(*args: object, **settings: object) -> NormalizedLearner:
    """A network for which no memory suffices."""
    learner = rotation.build(*args, **settings)
    learner.register_forward_pre_hook(lambda *_: torch.empty(2**55))
    return learner


@pytest.fixture
def inputs(surrogate_set: SurrogateSet, compute: Compute) -> TrainInputs:
    """What a task gets, with batches of 64."""
    return TrainInputs(
        architecture=parse(MODEL),
        surrogate=surrogate_set,
        mean=torch.zeros(3, 32, 32),
        images=PICTURES,
        options=load_options("rotation", PUBLISHED["rotation"]),
        settings=replace(SETTINGS, batch_size=64),
        recipe="fast",
        random_seed=0,
        compute=compute,
    )


def test_memory_that_does_not_suffice_is_told_with_the_batch_that_is_stated(
    inputs: TrainInputs,
) -> None:
    """A row that passes the encoder twice makes steps of half as many rows, of which params.yaml says nothing."""
    fitting = fit_task(inputs, name="rotation", draw=rotation.draw, build=build_hungry, passes=2)
    with pytest.raises(UserError, match=r"^out of memory: lower train\.batch_size from 64 to 32$"):
        next(iter(fitting.epochs))


def test_rows_beyond_any_memory_are_told_before_they_are_drawn(
    inputs: TrainInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are drawn for the whole training at once, unlike exemplar's samples."""
    monkeypatch.setattr(task, "MOST_ROWS", 2)
    with pytest.raises(UserError, match=r"^rotation: [0-9,]+ rows are drawn before the training; expected at most 2:"):
        fit_task(inputs, name="rotation", draw=rotation.draw, build=rotation.build, passes=1)
