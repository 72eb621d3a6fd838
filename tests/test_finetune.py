"""Training on labels: which squares it sees, what it starts from, and how a trained network answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exemplar import finetune
from exemplar.datasets.base import Labeled
from exemplar.errors import UserError
from exemplar.finetune import Finetune
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.device import Compute
from exemplar.surrogate import build
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds
from exemplar.training.contract import Settings

SCHEDULE = Settings(epochs=16, batch_size=16, learning_rate=0.01, momentum=0.9, weight_decay=0.004)


@pytest.fixture
def encoder() -> Encoder:
    """A small untrained network."""
    generator = torch.Generator().manual_seed(0)
    return draw_encoder(parse("8c5-8c5-16f"), mean=torch.zeros(3, 32, 32), generator=generator)


@pytest.fixture
def readout(geometric: Ranges) -> Finetune:
    """Ten squares of every labeled image."""
    return Finetune(crops_per_image=10, scales=(1.0, 0.8), schedule=SCHEDULE, ranges=geometric)


def weights(encoder: Encoder) -> list[torch.Tensor]:
    """A copy of all that an encoder keeps."""
    return [value.clone() for value in encoder.state_dict().values()]


def test_classes_that_differ_in_colour_are_learnt_and_the_encoder_is_left_alone(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """Every fold starts from the same encoder, has its curve, and answers the same every time."""
    short = replace(labeled, train=labeled.train[:2], test=labeled.test[:2])
    before = weights(encoder)
    measured, again = (readout.measure(encoder, short, random_seed=0, compute=compute) for _ in range(2))
    assert min(measured.accuracy) > 0.9
    assert measured.accuracy == again.accuracy
    assert measured.training_samples == 6
    assert [len(curve) for curve in measured.curves] == [16, 16]
    assert [[epoch["loss"] for epoch in curve] for curve in measured.curves] == [
        [epoch["loss"] for epoch in curve] for curve in again.curves
    ]
    assert all(torch.equal(*pair) for pair in zip(before, weights(encoder), strict=True))


def test_equalizing_changes_no_feature_but_its_scale(readout: Finetune, encoder: Encoder, labeled: Labeled) -> None:
    """Every map is the old one times one positive number, and on average as large as 1."""
    samples = finetune.labeled_samples(
        labeled.images, labeled.labels, crops_per_image=10, scales=(1.0,), ranges=readout.ranges, random_seed=0
    )
    patches, _ = samples.render(torch.arange(len(samples)))
    before = [layer.detach() for layer in encoder.feature_maps(patches)]
    finetune.lsuv_rescale(encoder, samples)
    for old, new in zip(before, encoder.feature_maps(patches), strict=True):
        assert float(new.detach().square().mean().sqrt()) == pytest.approx(1, rel=0.1)
        assert torch.allclose(new, old * (new.norm() / old.norm()), atol=1e-4)


def test_a_fold_sees_nothing_but_its_own_training_images(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """With all other images and labels changed, the trained weights are the same bit for bit."""
    others = np.setdiff1d(np.arange(len(labeled.images)), labeled.train[1])
    images, labels = labeled.images.copy(), labeled.labels.copy()
    images[others], labels[others] = 0, 0
    changed = replace(labeled, images=images, labels=labels)
    quick = replace(readout, schedule=replace(SCHEDULE, epochs=1))
    trained = [
        quick.fit_fold(encoder, data, 1, random_seed=0, compute=compute)[0].state_dict().values()
        for data in (labeled, changed)
    ]
    assert all(torch.equal(*pair) for pair in zip(*trained, strict=True))


def test_a_killed_measurement_goes_on_with_the_fold_it_was_at(
    readout: Finetune,
    encoder: Encoder,
    labeled: Labeled,
    compute: Compute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Finished folds are not trained again, nor is a fold that was only not tested yet; the end is the same."""
    quick, trained, answer = replace(readout, schedule=replace(SCHEDULE, epochs=2)), [], finetune.classify

    def killed_at_the_second(*given: Any, **settings: Any) -> Any:
        trained.append(sorted(file.name for file in tmp_path.iterdir()))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return answer(*given, **settings)

    expected = quick.measure(encoder, labeled, random_seed=0, compute=compute)
    monkeypatch.setattr(finetune, "classify", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        quick.measure(encoder, labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    measured = quick.measure(encoder, labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    assert trained == [["fold-1"], *[["fold-1.json", "fold-2"]] * 2, ["fold-1.json", "fold-2.json", "fold-3"]]
    assert measured.accuracy == expected.accuracy
    assert [[epoch["loss"] for epoch in curve] for curve in measured.curves] == [
        [epoch["loss"] for epoch in curve] for curve in expected.curves
    ]


def test_squares_lie_in_the_image() -> None:
    """At each scale's size, spread over all places where they fit; none is larger than the image."""
    generator = torch.Generator().manual_seed(0)
    centre, side = finetune.draw_squares(4000, image_size=(96, 60), scales=(1.0, 0.64, 0.5), generator=generator)
    assert side.unique().tolist() == [32, 50, 60]
    low, high = centre - side[:, None] / 2, centre + side[:, None] / 2
    assert (low >= -1e-4).all()
    assert (high <= torch.tensor([96, 60]) + 1e-4).all()
    narrow = side == 32
    assert low[narrow].min(0).values.tolist() == pytest.approx([0, 0], abs=1)
    assert high[narrow].max(0).values.tolist() == pytest.approx([96, 60], abs=1)
    assert (narrow.float().mean() - 1 / 3).abs() < 0.05


def test_samples_of_an_image_have_its_label(neutral: Ranges) -> None:
    """Squares of images of one grey level each: every sample is as grey as the image of its owner."""
    images = np.broadcast_to(np.array([10, 90, 200], np.uint8)[:, None, None, None], (3, 3, 40, 40)).copy()
    samples = finetune.labeled_samples(
        images, np.array([2, 0, 2]), crops_per_image=4, scales=(1.0, 0.9), ranges=neutral, random_seed=0
    )
    patches, targets = samples.render(torch.arange(len(samples)))
    assert targets.tolist() == [2] * 4 + [0] * 4 + [2] * 4
    levels = (patches.mean((1, 2, 3)) * 255).round().tolist()
    assert levels == [10] * 4 + [90] * 4 + [200] * 4
    assert (patches.flatten(1).std(1) < 1e-5).all()


def test_squares_wider_than_32_pixels_are_smoothed_as_seeds_are(neutral: Ranges) -> None:
    """The same square of noise as a seed and as a training square is the same patch; one of 32 pixels is as it was."""
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 80, 80), np.uint8)
    drawn = finetune.labeled_samples(
        images, np.array([0, 1, 2]), crops_per_image=6, scales=(1.0, 0.5), ranges=neutral, random_seed=0
    )
    assert sorted(drawn.side.unique().tolist()) == [32, 64]
    assert drawn.label.tolist() == np.repeat([0, 1, 2], 6).tolist()
    seeds = Seeds(image=drawn.label.numpy(), centre=drawn.centre.double().numpy(), side=drawn.side.double().numpy())
    cut, _ = build.build(images, seeds, samples=1, ranges=neutral, random_seed=0)
    # But for their rims: a seed's window ends nearer to it than the image does, and is mirrored there.
    mine, theirs = (made.render(torch.arange(len(drawn)))[0][:, :, 2:-2, 2:-2] for made in (drawn, cut))
    torch.testing.assert_close(mine, theirs, atol=1.01 / 255, rtol=0)
    wide = drawn.side == 64
    assert torch.equal(drawn.windows[drawn.window_index[~wide]], torch.from_numpy(images)[drawn.label[~wide]])
    assert drawn.windows[drawn.window_index[wide]].double().std() < 0.8 * images.std()


def test_a_classifier_starts_from_the_encoder_and_the_mean_of_its_own_samples(encoder: Encoder) -> None:
    """A copy: the same filters, another mean, and a head drawn from the random seed."""
    mean = torch.rand(3, 32, 32)
    begun = finetune.start(encoder, mean=mean, classes=5, random_seed=1)
    for mine, given in zip(begun.encoder.layers, encoder.layers, strict=True):
        assert torch.equal(mine.weight, given.weight)
        assert mine.weight is not given.weight
    assert torch.equal(begun.encoder.mean, mean)
    assert not encoder.mean.any()
    again, other = (finetune.start(encoder, mean=mean, classes=5, random_seed=number) for number in (1, 2))
    assert torch.equal(begun.head.scores.weight, again.head.scores.weight)
    assert not torch.equal(begun.head.scores.weight, other.head.scores.weight)


def test_an_answer_is_averaged_over_places_and_scales(
    encoder: Encoder, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The softmax of every place counts once at each scale; how many images go together does not matter."""
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), np.uint8).repeat(10, 2).repeat(10, 3)
    classifier = finetune.start(encoder, mean=torch.full((3, 32, 32), 0.5), classes=4, random_seed=0)
    classifier.eval()
    for weights in classifier.parameters():  # so that images differ in what they get
        torch.nn.init.normal_(weights, std=0.1, generator=torch.Generator().manual_seed(3))
    votes = torch.zeros(20, 4)
    with torch.no_grad():
        for side in (40, 32):
            pictures = finetune.resize(torch.from_numpy(images).float() / 255, side)
            scores = classifier.head(classifier.encoder(pictures))
            places = [scores[:, :, y, x].softmax(1) for y in range(scores.shape[2]) for x in range(scores.shape[3])]
            votes += torch.stack(places).mean(0)
    expected = votes.argmax(1).tolist()
    for at_once in (3, 20):
        monkeypatch.setattr(finetune, "BATCH_PIXELS", at_once * 40**2)
        assert finetune.classify(classifier, images, scales=(0.8, 1.0), compute=compute).tolist() == expected
    assert len(set(expected)) > 1


def test_raw_pixels_cannot_be_fine_tuned(readout: Finetune, labeled: Labeled, compute: Compute) -> None:
    """They have no weights, and that is said."""
    with pytest.raises(UserError, match="no weights to fine-tune"):
        readout.measure(Pixels(), labeled, random_seed=0, compute=compute)
