"""What every method obeys: each file of exemplar/methods is a way to get an encoder."""

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from small import MODEL, begun, timeless

from exemplar import methods
from exemplar.io.examples import load_examples, save_examples
from exemplar.models.network import Encoder, Pixels
from exemplar.models.saved import load_encoder, save_encoder
from exemplar.params import names
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.contract import Fitting

NAMES = sorted(path.stem for path in Path(methods.__path__[0]).glob("*.py") if path.stem != "__init__")
UNTRAINED, TWICE = ("random", "pixels"), "clustered"
IMAGES = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def begin(name: str, data: SurrogateSet, compute: Compute, folder: Path, **more: Any) -> Fitting:
    """A training of the method that has not begun."""
    return begun(name, data, compute, checkpoint=folder / "state.pt", **more)


def fitted(name: str, data: SurrogateSet, compute: Compute, folder: Path, *, random_seed: int = 0) -> Encoder | Pixels:
    """The encoder after its last epoch."""
    folder.mkdir()
    fitting = begin(name, data, compute, folder, random_seed=random_seed)
    for _ in fitting.epochs:
        pass
    return fitting.finish().eval()


def described(encoder: Encoder | Pixels) -> torch.Tensor:
    """All features of two images."""
    with torch.inference_mode():
        return torch.cat(encoder.extract_features(IMAGES, (1, 2)), 1)


def test_there_are_methods() -> None:
    """At least three; params.yaml may name each, and its file says in a sentence what it is."""
    assert {"exemplar", "pixels", "random"} <= set(NAMES)
    assert names.names_in("methods", having=names.METHOD) == NAMES
    for name in NAMES:
        assert import_module(f"exemplar.methods.{name}").__doc__


@pytest.mark.parametrize("name", NAMES)
def test_epochs_are_counted_as_they_are_drawn(
    name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """None for a method that does not learn, else as many as were asked for in each training; there is a checkpoint."""
    numbers = [epoch.epoch for epoch in begin(name, surrogate_set, compute, tmp_path).epochs]
    assert numbers == ([] if name in UNTRAINED else [1, 2, 3, 4] if name == TWICE else [1, 2])
    assert (tmp_path / "state.pt").exists() == bool(numbers)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_tells_whether_there_are_weights(
    name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """One that names `Pixels` has none, and `finetune.methods` may not name it."""
    encoder = fitted(name, surrogate_set, compute, tmp_path / "one")
    weightless = names.names_in("methods", having=names.WEIGHTLESS)
    assert (name in weightless) == (not list(encoder.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_describes_images(name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path) -> None:
    """A finite vector per image, in a block per layer and grid of cells; different images differ."""
    encoder = fitted(name, surrogate_set, compute, tmp_path / "one")
    features = described(encoder)
    blocks = len(encoder.extract_features(IMAGES, (1, 2)))
    assert blocks % 2 == 0 or isinstance(encoder, Pixels)  # which has no layers, and one copy of the image
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_comes_back_from_its_file(
    name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """It names its model and describes images as before."""
    encoder = fitted(name, surrogate_set, compute, tmp_path / "one")
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    assert loaded.model == encoder.model
    assert encoder.model in (MODEL, name)
    assert torch.equal(described(loaded), described(encoder))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_random_seed_gives_the_same_encoder(
    name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """Bit for bit; where there are weights, another one gives others."""
    one, again, other = (
        fitted(name, surrogate_set, compute, tmp_path / folder, random_seed=number)
        for folder, number in (("one", 1), ("again", 1), ("other", 2))
    )
    assert torch.equal(described(one), described(again))
    assert torch.equal(described(one), described(other)) == (not list(one.parameters()))


def test_random_filters_are_those_that_exemplar_starts_from(
    surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """Bit for bit under the release's recipe: what the comparison of both shows is what training adds."""
    start, drawn = (
        begin(name, surrogate_set, compute, tmp_path, random_seed=3, recipe="release").finish().state_dict()
        for name in ("exemplar", "random")
    )
    assert start.keys() == drawn.keys()
    assert all(torch.equal(start[name], drawn[name]) for name in start)


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_training_goes_on_bit_for_bit(
    name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """After its first epoch, into the same records and the same encoder."""
    whole = begin(name, surrogate_set, compute, tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    records = list(whole.epochs)
    (tmp_path / "halved").mkdir()
    next(begin(name, surrogate_set, compute, tmp_path / "halved").epochs, None)
    again = begin(name, surrogate_set, compute, tmp_path / "halved")
    assert timeless(list(again.epochs)) == timeless(records)
    assert torch.equal(described(again.finish().eval()), described(whole.finish().eval()))


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_whole_and_the_same_every_time(
    name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """A method that has pictures of its task gives the same rows again, and they come back from their file.

    Making them changes no weight, and the encoder describes images as before.
    """
    made, features = [], []
    for folder in ("one", "again"):
        fitting = begin(name, surrogate_set, compute, tmp_path / folder)
        (tmp_path / folder).mkdir()
        assert len(list(fitting.epochs)) in (0, 2, 4)
        features.append(described(fitting.finish().eval()))
        made.append(fitting.examples())
        assert torch.equal(described(fitting.finish().eval()), features[0])
    assert made[0] == made[1]
    assert bool(made[0]) == (name not in UNTRAINED)
    assert all(each.contradiction() is None and len(each.pictures) >= 1 for each in made[0])
    save_examples(made[0], tmp_path)
    assert load_examples(tmp_path) == made[0]


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_an_epoch_mean_something(
    name: str, surrogate_set: SurrogateSet, compute: Compute, tmp_path: Path
) -> None:
    """Losses are finite, no score is above 1, and every method is told as many encoder passes as the exemplar task."""
    for epoch in begin(name, surrogate_set, compute, tmp_path).epochs:
        assert all(math.isfinite(number) for number in epoch.numbers().values())
        assert epoch.score <= 1
        assert 0 <= epoch.chance < 1
        assert epoch.held_out_score is not None
        assert epoch.encoder_passes == pytest.approx(len(surrogate_set), rel=0.2)
