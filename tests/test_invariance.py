"""Invariance: what is done to test images, what is measured on them, and what may not change it."""

import colorsys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.transform import rotate

from exemplar import invariance
from exemplar.datasets.base import Labeled
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder, Pixels
from exemplar.probe.protocol import Probe
from exemplar.runtime.device import Compute

PROBE = Probe(
    side=60,
    cells=(1, 2),
    cell_weights=(1.0, 0.5),
    percentile=99.9,
    C_range=(1e-5, 1.0),
    C_draws=6,
    intercept_scaling=1.0,
    validation="other_folds",
)
MAGNITUDES = {
    "shift_fraction": [-0.25, 0.0, 0.25],
    "angle_degrees": [0.0, 30.0],
    "scale_factor": [0.7, 1.0],
    "hue_offset_turns": [0.0, 0.3],
    "contrast_factor": [0.25, 1.0, 4.0],
}
NEUTRAL = {"shift_fraction": 0, "angle_degrees": 0, "scale_factor": 1, "hue_offset_turns": 0, "contrast_factor": 1}
DISTANCES = ["distance_layer_1", "distance_layer_2", "distance_layer_3", "distance_pooled"]


@pytest.fixture(scope="module")
def hard() -> Labeled:
    """Four overlapping classes of images of 40 pixels: three folds of 24 training images, and 48 test images."""
    random = np.random.default_rng(3)
    labels = np.arange(120) % 4
    coarse = 128 + random.normal(0, 9, (4, 3, 5, 5))[labels] + random.normal(0, 25, (120, 3, 5, 5))
    return Labeled(
        images=coarse.repeat(8, 2).repeat(8, 3).clip(0, 255).astype(np.uint8),
        labels=labels,
        train=np.arange(72).reshape(3, 24),
        test=np.tile(np.arange(72, 120), (3, 1)),
        classes=tuple("abcd"),
    )


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A small untrained network of three layers."""
    generator = torch.Generator().manual_seed(0)
    return draw_encoder(parse("4c5-5c5-6f"), mean=torch.zeros(3, 32, 32), generator=generator)


def measure(encoder: Encoder | Pixels, labeled: Labeled, compute: Compute, **changes: object) -> pd.DataFrame:
    """The whole measurement with few magnitudes."""
    settings = {"images": 48, "magnitudes": MAGNITUDES, "random_seed": 0, "compute": compute} | changes
    return invariance.measure(encoder, labeled, PROBE, **settings)


def smooth(count: int, side: int) -> torch.Tensor:
    """Images without edges."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0.02, 0.98)


def changed(images: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    """The crops under one magnitude."""
    pixels = invariance.crop_pixels((images.shape[3], images.shape[2]))
    return invariance.crop(images, invariance.table_row(name, magnitude), pixels=pixels)


def unit_pixels(crops: torch.Tensor) -> torch.Tensor:
    """Crops as the probe sees them, as rows of unit length."""
    seen = torch.nn.functional.interpolate(crops, (40, 40), mode="bicubic", antialias=True).clamp(0, 1)
    rows = seen.flatten(1).double()
    return rows / rows.norm(dim=1)[:, None]


def test_an_untransformed_image_has_not_moved_and_is_classified_as_the_probe_does(
    encoder: Encoder, hard: Labeled, compute: Compute
) -> None:
    """At every neutral magnitude the distances are 0, and the accuracy is that of the probe on plain crops."""
    table = measure(encoder, hard, compute)
    neutral = table[table["magnitude"] == table["transformation"].map(NEUTRAL)]
    assert (neutral[DISTANCES] == 0).all(axis=None)
    cropped = replace(hard, images=np.ascontiguousarray(hard.images[:, :, 7:33, 7:33]))
    expected = replace(PROBE, side=40).measure(encoder, cropped, random_seed=0, compute=compute).accuracy[0]
    assert neutral["accuracy"].tolist() == [pytest.approx(expected)] * 5
    assert 0.3 < expected < 1


def test_all_curves_of_an_encoder_have_one_unit(encoder: Encoder, hard: Labeled, compute: Compute) -> None:
    """So that they can be compared: what else is measured does not change a curve."""
    table = measure(encoder, hard, compute)
    alone = measure(encoder, hard, compute, magnitudes={"angle_degrees": [0.0, 30.0]})
    np.testing.assert_allclose(table.loc[table["transformation"] == "angle_degrees", DISTANCES], alone[DISTANCES])
    assert table[DISTANCES].min(axis=None) == 0
    assert list(table["transformation"].unique()) == list(MAGNITUDES)


def test_an_accuracy_has_its_interval(encoder: Encoder, hard: Labeled, compute: Compute) -> None:
    """Wilson's for the images that were drawn, which is narrower for more of them."""
    few, many = (measure(encoder, hard, compute, images=number) for number in (12, 48))
    for table, number in ((few, 12), (many, 48)):
        for row in table.to_dict("records"):
            for end in (row["accuracy_low"], row["accuracy_high"]):
                away = row["accuracy"] - end
                assert away**2 == pytest.approx(1.959964**2 * end * (1 - end) / number, abs=1e-6)
    assert (few["accuracy_high"] - few["accuracy_low"]).min() > (many["accuracy_high"] - many["accuracy_low"]).max()


def test_a_distance_is_that_of_features_of_unit_length(hard: Labeled, compute: Compute) -> None:
    """Shown on raw pixels: divided by their length, subtracted, averaged, in units of different images."""
    table = measure(Pixels(), hard, compute)
    images = torch.from_numpy(hard.images[72:]).float() / 255
    curve = [unit_pixels(changed(images, "contrast_factor", magnitude)) for magnitude in MAGNITUDES["contrast_factor"]]
    before = curve[MAGNITUDES["contrast_factor"].index(1.0)]
    moved = [(after - before).norm(dim=1).mean().item() for after in curve]
    every = torch.cdist(before, before)
    apart = every.sum().item() / (len(before) * (len(before) - 1))
    found = table.loc[table["transformation"] == "contrast_factor", "distance_layer_1"]
    assert found.tolist() == pytest.approx([distance / apart for distance in moved], rel=0.05)
    ratios = [distance / moved[0] for distance in moved]
    assert (found / found.iloc[0]).tolist() == pytest.approx(ratios, rel=1e-4)


@pytest.mark.parametrize("angle", [-45.0, -20.0, 5.0, 33.0])
def test_a_rotation_agrees_with_scikit_image(angle: float) -> None:
    """The whole image is turned about its middle, and then the middle is cut out."""
    images = smooth(3, 96)
    found = changed(images, "angle_degrees", angle)
    for image, crop in zip(images.double().numpy(), found.numpy(), strict=True):
        turned = rotate(image.transpose(1, 2, 0), angle, order=1)[16:80, 16:80].transpose(2, 0, 1)
        np.testing.assert_allclose(crop, turned, atol=1e-3)


def test_a_shift_is_a_slice_and_a_zoom_spreads_the_middle() -> None:
    """A quarter of 64 pixels is 16; a ramp zoomed by 2 rises half as fast."""
    images = smooth(2, 96)
    torch.testing.assert_close(changed(images, "shift_fraction", 0.25), images[:, :, 16:80, 32:], atol=1e-5, rtol=0)
    torch.testing.assert_close(changed(images, "shift_fraction", -0.25), images[:, :, 16:80, :64], atol=1e-5, rtol=0)
    ramp = torch.linspace(0, 1, 96).expand(1, 3, 96, 96)
    torch.testing.assert_close(changed(ramp, "scale_factor", 2.0).diff(dim=3).mean(), torch.tensor(0.5 / 95))


def test_hue_and_contrast_are_those_of_hsv() -> None:
    """Pixel by pixel as the standard library has it; what leaves 0..1 is clipped."""
    images = smooth(1, 24)
    for name, magnitude in (("hue_offset_turns", -0.3), ("contrast_factor", 0.125), ("contrast_factor", 4.0)):
        found = changed(images, name, magnitude)[0].flatten(1).T.tolist()
        for before, after in zip(images[0, :, 4:20, 4:20].flatten(1).T.tolist(), found, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            if name == "hue_offset_turns":
                hue = (hue + magnitude) % 1
            else:
                saturation, value = min(1, saturation * magnitude), min(1, value * magnitude)
            assert after == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, value), abs=1e-4)


def test_an_image_without_colour_does_not_notice_its_hue(encoder: Encoder, hard: Labeled, compute: Compute) -> None:
    """All distances are 0, whatever the unit."""
    grey = replace(hard, images=hard.images[:, :1].repeat(3, 1))
    table = measure(encoder, grey, compute, magnitudes={"hue_offset_turns": [0.0, 0.25, 0.5]})
    assert (table[DISTANCES] < 1e-4).all(axis=None)
    assert table["accuracy"].nunique() == 1


def test_neither_c_nor_the_svm_sees_a_test_image(encoder: Encoder, hard: Labeled, compute: Compute) -> None:
    """With other test images and labels the readout is the same bit for bit."""
    images, labels = hard.images.copy(), hard.labels.copy()
    images[72:], labels[72:] = 255 - images[72:], 0
    weights = []
    for labeled in (hard, replace(hard, images=images, labels=labels)):
        training = invariance.training_crops(labeled, pixels=26, validation="other_folds")
        fitted = invariance.fit_readout(encoder, training, PROBE, side=40, random_seed=0, compute=compute)
        weights.append(fitted.weights)
    assert torch.equal(*weights)


def test_training_crops_are_the_middles_of_the_folds_that_are_needed(hard: Labeled) -> None:
    """Folds stay folds of the same images; where C is chosen inside the first fold no other is read."""
    every, first = (
        invariance.training_crops(hard, pixels=26, validation=validation) for validation in ("other_folds", "nested")
    )
    for number, fold in enumerate(hard.train):
        np.testing.assert_array_equal(every.images[every.train[number]], hard.images[fold, :, 7:33, 7:33])
        np.testing.assert_array_equal(every.labels[every.train[number]], hard.labels[fold])
    assert len(first.images) == 24
    np.testing.assert_array_equal(first.images[first.train[0]], hard.images[hard.train[0], :, 7:33, 7:33])


def test_the_size_of_a_batch_does_not_matter(
    encoder: Encoder, hard: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image at a time where a single one is larger than a batch, seven with a rest, or all at once."""
    tables = []
    for number in (0.1, 7, 48):
        monkeypatch.setattr(invariance, "BATCH_PIXELS", int(number * 40**2))
        tables.append(measure(encoder, hard, compute, images=20))
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], rtol=1e-4)


def test_images_are_drawn_from_the_random_seed(encoder: Encoder, hard: Labeled, compute: Compute) -> None:
    """The same seed sees the same images, another seed others, and no more are asked for than there are."""
    first, again, other = (measure(encoder, hard, compute, images=10, random_seed=number) for number in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert set(np.round(first["accuracy"] * 10, 6)) <= set(range(11))
    pd.testing.assert_frame_equal(*(measure(encoder, hard, compute, images=number) for number in (48, 500)))


@pytest.mark.parametrize(
    ("side", "probed", "cells", "crop", "seen"),
    [(96, 96, 2, 64, 64), (32, 64, 2, 22, 44), (150, 150, 4, 100, 100), (256, 256, 4, 170, 170), (33, 33, 1, 21, 36)],
)
def test_crops_are_two_thirds_on_whole_pixels(side: int, probed: int, cells: int, crop: int, seen: int) -> None:
    """STL-10, CIFAR-10, Caltech-101 and 256, and an image so small that its crop is enlarged."""
    size, settings = (side, side), replace(PROBE, side=probed, cells=(cells,), cell_weights=(1.0,))
    assert invariance.crop_pixels(size) == crop
    assert (side - crop) % 2 == 0
    assert invariance.probed_pixels(size, settings, total_stride=4) == seen


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (150, 90)])
def test_images_of_any_size_are_measured(
    encoder: Encoder, compute: Compute, labeled: Labeled, height: int, width: int
) -> None:
    """Also where they are no squares."""
    images = labeled.images.repeat(4, 2).repeat(4, 3)[:, :, :height, :width]
    table = measure(encoder, replace(labeled, images=images), compute, images=3)
    assert table[["accuracy", *DISTANCES]].notna().all(axis=None)


def test_a_tracker_gets_a_curve_per_transformation(hard: Labeled, compute: Compute) -> None:
    """A step is a place in the list of magnitudes, and the magnitude is a curve of its own."""
    table = measure(Pixels(), hard, compute)
    steps = list(invariance.steps(table))
    assert len(steps) == len(table)
    shifts = [numbers for _, numbers in steps if "shift_fraction.magnitude" in numbers]
    assert [step for step, numbers in steps if "shift_fraction.magnitude" in numbers] == [0, 1, 2]
    assert [numbers["shift_fraction.magnitude"] for numbers in shifts] == [-0.25, 0.0, 0.25]
    assert [numbers["shift_fraction.accuracy"] for numbers in shifts] == table["accuracy"][:3].tolist()
