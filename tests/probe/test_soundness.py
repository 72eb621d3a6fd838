"""Features that no classifier should be given."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from exemplar import invariance
from exemplar.datasets.base import Labeled
from exemplar.datasets.splits import selection_splits
from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder
from exemplar.probe.features import Features, require_sound
from exemplar.probe.protocol import Probe
from exemplar.runtime.device import Compute

SETTINGS = Probe(
    side=40,
    cells=(2,),
    cell_weights=(1.0,),
    percentile=99.0,
    C_range=(0.1, 1.0),
    C_draws=2,
    intercept_scaling=1.0,
    validation="other_folds",
)


def some(rows: int = 2500, columns: int = 6) -> np.ndarray:
    return np.random.default_rng(0).random((rows, columns)).astype(np.float32)


def encoder(value: float) -> Encoder:
    """One whose last bias is a certain number."""
    drawn = draw_encoder(parse("4c5-8f"), mean=torch.zeros(3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn.layers[0].bias.fill_(value)
        drawn.layers[1].bias.fill_(value)
    return drawn


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 999, 1000, 2499])
def test_numbers_that_are_not_finite_are_told_with_their_image(number: float, row: int) -> None:
    """Wherever they stand, and with the settings to look at."""
    values = some()
    values[row, 3] = number
    with pytest.raises(
        UserError, match=rf"image {row} that are not finite; lower train.learning_rate .*compute.precision"
    ):
        require_sound(Features(values, (slice(0, 6),)))


def test_constant_features_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them end the work; those of one layer are a warning; a single one is nothing."""
    values, blocks = some(), (slice(0, 2), slice(2, 6))
    values[:, 3] = 0.5
    require_sound(Features(values, blocks))
    assert capsys.readouterr().err == ""
    values[:, :2] = 0
    require_sound(Features(values, blocks))
    assert re.match(r"warning: the features of 1 of 2 blocks .* the same for every image", capsys.readouterr().err)
    values[:] = 0.25
    with pytest.raises(UserError, match="all 6 features are the same for each of the 2,500 images: the encoder is dea"):
        require_sound(Features(values, blocks))


@pytest.mark.parametrize(("bias", "said"), [(float("nan"), "not finite"), (-100.0, "the encoder is dead")])
def test_a_broken_encoder_is_told_by_probe_and_invariance(
    labeled: Labeled, compute: Compute, bias: float, said: str
) -> None:
    """Before an SVM sees its features."""
    with pytest.raises(UserError, match=said):
        SETTINGS.measure(encoder(bias), labeled, random_seed=0, compute=compute)
    with pytest.raises(UserError, match=said):
        invariance.fit_readout(encoder(bias), labeled, SETTINGS, side=40, random_seed=0, compute=compute)


def test_halves_of_one_class_are_told(labeled: Labeled) -> None:
    """Two images of two classes are too few to cut in halves."""
    few = Labeled(
        images=labeled.images,
        labels=labeled.labels,
        train=labeled.train[:, :2],
        test=labeled.test,
        classes=labeled.classes,
    )
    with pytest.raises(
        UserError, match="a half of the 2 training images of fold 1 has one class only; expected two im"
    ):
        selection_splits(few, validation="nested", random_seed=0)


def test_a_fold_of_one_class_is_told(labeled: Labeled, tmp_path: Path) -> None:
    """Fine-tuning would reach 100 % on it without a word."""
    labeled.save(tmp_path)
    np.save(tmp_path / "train.npy", np.arange(0, 18, 3).reshape(1, 6))
    np.save(tmp_path / "test.npy", labeled.test[:1])
    with pytest.raises(UserError, match="fold 1 trains on one class only, 'red'"):
        Labeled.load(tmp_path)
