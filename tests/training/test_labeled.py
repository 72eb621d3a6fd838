"""Samples of labeled images, and what a network starts from."""

import numpy as np
import pytest
import torch
from small import SETTINGS

from exemplar.datasets.base import Labeled
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder
from exemplar.surrogate import build
from exemplar.surrogate.ranges import RELEASE, Ranges
from exemplar.surrogate.seeds import Seeds
from exemplar.training import labeled as labeled_sets
from exemplar.training.labeled import labeled_samples, limited


@pytest.fixture
def encoder() -> Encoder:
    """A small untrained network."""
    generator = torch.Generator().manual_seed(0)
    return draw_encoder(parse("8c5-8c5-16f"), mean=torch.zeros(3, 32, 32), generator=generator)


def chance() -> torch.Generator:
    """The same draws in every test."""
    return torch.Generator().manual_seed(0)


def test_an_augmentation_keeps_its_part_of_the_ranges(geometric: Ranges, neutral: Ranges) -> None:
    """Geometry alone leaves colours as they are, and none leaves everything."""
    drawn = {name: limited(RELEASE, name) for name in labeled_sets.AUGMENTATIONS}
    assert drawn["geometry_and_colour"] == RELEASE
    assert drawn["geometry"] == geometric
    assert drawn["none"] == neutral


def test_every_epoch_has_new_squares_of_every_image(neutral: Ranges) -> None:
    """Its share of the samples holds each image equally often, at other places than the share before."""
    images = np.zeros((3, 3, 60, 60), np.uint8)
    samples = labeled_samples(
        images, np.array([2, 0, 2]), crops_per_image=4, epochs=2, scales=(1.0,), ranges=neutral, key=0
    )
    assert samples.window_index.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4 + [1] * 4 + [2] * 4
    assert len(samples.centre.unique(dim=0)) == 24


def test_equalizing_changes_no_feature_but_its_scale(encoder: Encoder, labeled: Labeled, geometric: Ranges) -> None:
    """Every map is the old one times one positive number, and on average as large as 1."""
    samples = labeled_samples(
        labeled.images,
        labeled.labels,
        crops_per_image=10,
        epochs=1,
        scales=(1.0,),
        ranges=geometric,
        key=0,
    )
    patches = labeled_sets.some_patches(samples)
    assert len(patches) == len(samples) == 300
    before = [layer.detach() for layer in encoder.feature_maps(patches)]
    labeled_sets.lsuv_rescale(encoder, patches)
    for old, new in zip(before, encoder.feature_maps(patches), strict=True):
        assert float(new.detach().square().mean().sqrt()) == pytest.approx(1, rel=0.1)
        assert torch.allclose(new, old * (new.norm() / old.norm()), atol=1e-4)


def test_a_large_set_shows_512_samples_from_its_first_to_its_last(neutral: Ranges) -> None:
    """They are spread evenly: no two neighbours among them are more than two samples apart."""
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 40, 40), np.uint8)
    samples = labeled_samples(images, np.arange(3), crops_per_image=100, epochs=2, scales=(1.0,), ranges=neutral, key=0)
    patches, all_patches = labeled_sets.some_patches(samples), samples.render(torch.arange(600))[0]
    distances = torch.cdist(patches.flatten(1), all_patches.flatten(1))
    places = distances.argmin(1)
    assert len(patches) == 512
    assert (int(places[0]), int(places[-1])) == (0, 599)
    assert set(places.diff().tolist()) == {1, 2}


def test_a_layer_that_answers_nothing_stays_finite(encoder: Encoder) -> None:
    """Nothing can bring its mean square to 1; the layers before it are scaled all the same."""
    with torch.no_grad():
        encoder.layers[1].bias.fill_(-100.0)
    patches = torch.rand(9, 3, 32, 32, generator=chance())
    labeled_sets.lsuv_rescale(encoder, patches)
    assert all(weights.isfinite().all() for weights in encoder.parameters())
    first, second, _ = encoder.feature_maps(patches)
    assert float(first.detach().square().mean()) == pytest.approx(1, rel=0.01)
    assert not second.any()


def test_squares_of_images_that_are_no_squares_lie_all_over_them(neutral: Ranges) -> None:
    """Of 90 x 40 pixels the wide side is used, and nothing is held out from training."""
    images = np.zeros((2, 3, 40, 90), np.uint8)
    samples = labeled_samples(images, np.arange(2), crops_per_image=100, epochs=1, scales=(1.0,), ranges=neutral, key=0)
    low, high = samples.centre.min(0).values, samples.centre.max(0).values
    assert low.tolist() == pytest.approx([16, 16], abs=1)
    assert high.tolist() == pytest.approx([74, 24], abs=1)
    assert len(samples.unseen()) == 0


def test_squares_lie_in_the_image() -> None:
    """At each scale's size, spread over all places where they fit; none is larger than the image."""
    centre, side = labeled_sets.draw_squares(4000, image_size=(96, 60), scales=(1.0, 0.64, 0.5), key=0)
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
    samples = labeled_samples(
        images, np.array([2, 0, 2]), crops_per_image=4, epochs=1, scales=(1.0, 0.9), ranges=neutral, key=0
    )
    patches, targets = samples.render(torch.arange(len(samples)))
    assert targets.tolist() == [2] * 4 + [0] * 4 + [2] * 4
    levels = (patches.mean((1, 2, 3)) * 255).round().tolist()
    assert levels == [10] * 4 + [90] * 4 + [200] * 4
    assert (patches.flatten(1).std(1) < 1e-5).all()


def test_squares_wider_than_32_pixels_are_smoothed_as_seeds_are(neutral: Ranges) -> None:
    """The same square of noise as a seed and as a training square is the same patch; one of 32 pixels is as it was."""
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 80, 80), np.uint8)
    drawn = labeled_samples(
        images, np.array([0, 1, 2]), crops_per_image=6, epochs=1, scales=(1.0, 0.5), ranges=neutral, key=0
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
    """A copy: the same filters but for their scale, another mean, and a head drawn from its own generator."""
    patches = torch.rand(40, 3, 32, 32, generator=chance())
    begun, again = (labeled_sets.start(encoder, patches, classes=5, generator=chance()) for _ in range(2))
    for mine, given in zip(begun.encoder.layers, encoder.layers, strict=True):
        ratio = mine.weight / given.weight
        assert torch.allclose(ratio, ratio.mean(), rtol=1e-4)
        assert mine.weight is not given.weight
    assert torch.equal(begun.encoder.mean, patches.mean(0))
    assert not encoder.mean.any()
    other = labeled_sets.start(encoder, patches, classes=5, generator=torch.Generator().manual_seed(2))
    assert torch.equal(begun.head.scores.weight, again.head.scores.weight)
    assert not torch.equal(begun.head.scores.weight, other.head.scores.weight)


def test_on_labels_all_weights_learn_alike_and_biases_do_not_decay(encoder: Encoder) -> None:
    """One rate for encoder and head; the release's multipliers are for its own task."""
    begun = labeled_sets.start(encoder, torch.rand(9, 3, 32, 32, generator=chance()), classes=5, generator=chance())
    weights, biases = begun.optimizer(SETTINGS).param_groups
    assert (weights["lr"], weights["weight_decay"], weights["momentum"]) == (0.1, 0.004, 0.9)
    assert (biases["lr"], biases["weight_decay"], biases["momentum"]) == (0.1, 0.0, 0.9)
    given = {id(values) for values in begun.parameters()}
    assert {id(values) for group in (weights, biases) for values in group["params"]} == given
    assert all(values.ndim == 1 for values in biases["params"])
    assert len(weights["params"]) == len(biases["params"]) == 4


def test_on_labels_the_rate_rises_and_falls(encoder: Encoder) -> None:
    """To its height in 15 % of the steps, then evenly down; never below a hundredth."""
    begun = labeled_sets.start(encoder, torch.rand(9, 3, 32, 32, generator=chance()), classes=5, generator=chance())
    factors = [begun.rate_factor(progress) for progress in (0.0, 0.075, 0.15, 0.575, 1.0)]
    assert factors == pytest.approx([0.01, 0.5, 1, 0.5, 0.01])
