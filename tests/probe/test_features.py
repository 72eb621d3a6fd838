"""Features: what is pooled, in which order it stands, and how it is scaled."""

import mmap
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder, Pixels
from exemplar.probe import features
from exemplar.probe.features import Features
from exemplar.probe.span import Span
from exemplar.runtime.device import Compute
from exemplar.tracking.serving import FeatureFunction

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 3, 48, 48), np.uint8)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """An untrained network with three layers."""
    generator = torch.Generator().manual_seed(0)
    return draw_encoder(parse("4c5-5c5-6f"), mean=torch.rand(3, 32, 32, generator=generator), generator=generator)


def pooled(maps: np.ndarray, cells: int) -> list[float]:
    """The maxima of cells x cells windows of one map, channel by channel, one number at a time."""
    side = -(-maps.shape[1] // cells)
    return [
        max(float(value) for value in channel[row * side : (row + 1) * side, column * side : (column + 1) * side].flat)
        for channel in maps
        for row in range(cells)
        for column in range(cells)
    ]


def test_features_are_the_maxima_of_every_map_in_every_cell(encoder: Encoder, compute: Compute) -> None:
    """Layer by layer, and in each layer grid by grid, as a plain loop finds them; also where a map's side is odd."""
    found = features.measure(encoder, IMAGES, side=48, cells=(1, 2), compute=compute)
    with torch.inference_mode():
        maps = encoder.feature_maps(torch.from_numpy(IMAGES).float() / 255)
    assert [layer.shape[2] for layer in maps] == [48, 24, 5]
    for number in range(len(IMAGES)):
        expected = [pooled(layer[number].numpy(), cells) for layer in maps for cells in (1, 2)]
        np.testing.assert_allclose(found.values[number], np.concatenate(expected), rtol=1e-5)


def test_blocks_are_the_columns_of_each_layer_and_grid(encoder: Encoder, compute: Compute) -> None:
    """Side by side, from the first column to the last."""
    found = features.measure(encoder, IMAGES, side=48, cells=(1, 2), compute=compute)
    widths = [block.stop - block.start for block in found.blocks]
    assert widths == [4, 16, 5, 20, 6, 24]
    assert [column for block in found.blocks for column in range(block.start, block.stop)] == list(range(75))
    assert found.values.shape == (7, 75)


def test_the_size_of_a_batch_does_not_matter(
    encoder: Encoder, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image at a time, three at a time with a rest, all at once."""
    for number in (1, 3, 7):
        monkeypatch.setattr("exemplar.models.images.BATCH_PIXELS", number * 48**2)
        found = features.measure(encoder, IMAGES, side=48, cells=(2,), compute=compute)
        alone = features.measure(encoder, IMAGES[4:5], side=48, cells=(2,), compute=compute)
        np.testing.assert_allclose(found.values[4], alone.values[0], rtol=1e-5)


def test_images_are_brought_to_the_side_that_is_asked_for(compute: Compute) -> None:
    """Raw pixels show it: their own at their own side; smaller or larger, still between 0 and 1."""
    own = features.measure(Pixels(), IMAGES, side=48, cells=(1,), compute=compute)
    np.testing.assert_array_equal(own.values, IMAGES.reshape(7, -1).astype(np.float32) / 255)
    for side in (24, 60):
        values = features.measure(Pixels(), IMAGES, side=side, cells=(1,), compute=compute).values
        assert values.shape == (7, 3 * side**2)
        assert values.min() >= 0
        assert values.max() <= 1
        np.testing.assert_allclose(values.mean(1), own.values.mean(1), atol=0.02)


class Dying(Pixels):
    """Raw pixels of a process that is killed at one of its batches."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.batches, self.last = 0, last

    def extract_features(self, images: torch.Tensor, cells: tuple[int, ...]) -> list[torch.Tensor]:
        """The batch as it is, while this lives."""
        self.batches += 1
        if self.batches > self.last:
            raise KeyboardInterrupt
        return super().extract_features(images, cells)


def test_large_features_are_mapped_from_a_file_and_survive_a_kill(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches that were written are not made again, also where the last one was cut short; the end is the same."""
    monkeypatch.setattr(features, "LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr("exemplar.models.images.BATCH_PIXELS", 2 * 48**2)
    expected = features.measure(Pixels(), IMAGES, side=48, cells=(1,), compute=compute)
    with pytest.raises(KeyboardInterrupt):
        features.measure(Dying(3), IMAGES, side=48, cells=(1,), compute=compute, unfinished=tmp_path)
    file = tmp_path / "features"
    assert file.stat().st_size == 2 * 2 * expected.values[:1].nbytes
    os.truncate(file, file.stat().st_size - 5)
    # One batch to see how wide the rows are, and three of the four.
    found = features.measure(Dying(4), IMAGES, side=48, cells=(1,), compute=compute, unfinished=tmp_path)
    assert isinstance(found.values, np.memmap)
    assert not found.values.flags.writeable
    np.testing.assert_array_equal(found.values, expected.values)
    again = features.measure(Dying(1), IMAGES, side=48, cells=(1,), compute=compute, unfinished=tmp_path)
    np.testing.assert_array_equal(again.values, expected.values)


def test_small_features_stay_in_memory(compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written that is made again in a moment; with one byte too many all are mapped from a file."""
    features.measure(Pixels(), IMAGES, side=48, cells=(1,), compute=compute, unfinished=tmp_path)
    seven = 4 * 7 * 3 * 48**2
    for most, written in ((seven, []), (seven - 1, [tmp_path / "features"])):
        monkeypatch.setattr(features, "LARGEST_IN_MEMORY", most)
        found = features.measure(Pixels(), IMAGES, side=48, cells=(1,), compute=compute, unfinished=tmp_path)
        assert list(tmp_path.iterdir()) == written
        assert isinstance(found.values, np.memmap) == bool(written)
        np.testing.assert_array_equal(found.values, IMAGES.reshape(7, -1).astype(np.float32) / 255)


class Counting(Pixels):
    """Raw pixels, and how many images came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def extract_features(self, images: torch.Tensor, cells: tuple[int, ...]) -> list[torch.Tensor]:
        """The batch as it is."""
        self.counts.append(len(images))
        return super().extract_features(images, cells)


def test_as_many_images_come_at_once_as_their_pixels_allow(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the probe those of the side that it asks for, behind one image that shows how wide the rows are."""
    monkeypatch.setattr("exemplar.models.images.BATCH_PIXELS", 3 * 48 * 40)
    probed, served = Counting(), Counting()
    features.measure(probed, IMAGES, side=48, cells=(1,), compute=compute)
    FeatureFunction(served).predict(IMAGES[..., :40])
    assert (probed.counts, served.counts) == ([1, 2, 2, 2, 1], [3, 3, 1])


def test_too_little_memory_is_told_with_what_to_lower(encoder: Encoder, compute: Compute) -> None:
    """The side, as params.yaml calls it."""
    line = r"^out of memory: features of 1 images at 1000000 x 1000000 pixels; lower side of this dataset under probe "
    with pytest.raises(UserError, match=line):
        features.measure(encoder, np.zeros((1, 3, 2, 2), np.uint8), side=1_000_000, cells=(1,), compute=compute)


def test_room_is_asked_for_before_features_are_written(tmp_path: Path) -> None:
    """How much is needed and how much there is stands in the message."""
    with pytest.raises(UserError, match=r"28,000,000,000.0 MB are needed"):
        features.append_features(lambda _: [], IMAGES, tmp_path / "features", shape=(7, 10**15), batch=1)


def test_room_is_asked_for_what_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven rows of 40 bytes four are there and a part of the fifth, in batches of two: three are needed."""
    asked: list[int] = []
    monkeypatch.setattr(features, "require_space", lambda _, needed_bytes: asked.append(needed_bytes))
    (tmp_path / "features").write_bytes(np.arange(49, dtype=np.float32).tobytes())
    rows = features.append_features(
        lambda images: [torch.full((len(images), 10), -1.0)], IMAGES, tmp_path / "features", shape=(7, 10), batch=2
    )
    assert asked == [3 * 40]
    assert rows.tolist() == np.concatenate([np.arange(40).reshape(4, 10), np.full((3, 10), -1)]).tolist()


def test_a_percentile_is_that_of_its_block_over_the_given_rows() -> None:
    """Other rows do not matter; a layer that is dead there is left as it is."""
    values = np.arange(40, dtype=np.float32).reshape(4, 10)
    values[:, 8:] = 0
    found, rows = Features(values, (slice(0, 3), slice(3, 8), slice(8, 10))), np.array([0, 2])
    divisors = features.percentiles(found, rows=rows, percentile=50.0)
    assert divisors == [np.median(values[[0, 2], :3]), np.median(values[[0, 2], 3:8]), 1.0]
    values[[1, 3]] *= 100
    assert features.percentiles(found, rows=rows, percentile=50.0) == divisors


def test_scaling_divides_every_block_by_its_number() -> None:
    """After division by its highest value a block's highest value is 1."""
    values = np.random.default_rng(0).random((4, 10), np.float32) * np.arange(1, 11, dtype=np.float32)
    found = Features(values, (slice(0, 4), slice(4, 10)))
    scaled = found.scaled(features.percentiles(found, rows=np.arange(4), percentile=100.0), np.arange(4))
    assert [scaled[:, block].max() for block in found.blocks] == [1, 1]
    np.testing.assert_allclose(scaled[:, :4] * values[:, :4].max(), values[:, :4], rtol=1e-6)
    assert found.scaled([2.0, 4.0], np.array([3, 1])).tolist() == (values[[3, 1]] / np.repeat([2, 4], [4, 6])).tolist()


def test_what_mlflow_serves_are_the_features_of_images_as_they_are(encoder: Encoder, compute: Compute) -> None:
    """The probe's, before they are scaled; images need not be square."""
    measured = features.measure(encoder, IMAGES, side=48, cells=(2,), compute=compute)
    served = FeatureFunction(encoder)
    np.testing.assert_allclose(served.predict(IMAGES), measured.values, rtol=1e-5)
    assert served.predict(IMAGES[..., :40]).shape == (7, 60)


def test_the_mean_colour_is_the_mean_of_each_channel() -> None:
    """Between 0 and 1, over all pixels of the images that are asked for."""
    for rows in (np.array([5, 2]), np.arange(3000) % 7):
        expected = [IMAGES[rows, channel].astype(float).mean() / 255 for channel in range(3)]
        np.testing.assert_allclose(features.mean_colour(IMAGES, rows).numpy(), expected, rtol=1e-6)


def test_a_recentred_encoder_answers_to_shifted_images_as_before(encoder: Encoder) -> None:
    """Images that are brighter by a constant, and a mean that is too, give the same maps; the encoder itself stays."""
    images, shift = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(1)), 0.25
    before = encoder.mean.clone()
    recentred = encoder.recentred(before.mean((1, 2)) + shift)
    for map_, expected in zip(recentred.feature_maps(images + shift), encoder.feature_maps(images), strict=True):
        torch.testing.assert_close(map_, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(encoder.mean, before)
    assert Pixels().recentred(torch.ones(3)).extract_features(images, (1,))[0].equal(images.flatten(1))


def test_kept_rows_are_not_written_through_a_link(
    encoder: Encoder, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came with a copied repository, and may lead to any file of its new owner."""
    monkeypatch.setattr(features, "LARGEST_IN_MEMORY", 0)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "features").symlink_to(tmp_path / "mine")
    found = features.measure(encoder, IMAGES, side=48, cells=(2,), compute=compute, unfinished=tmp_path)
    assert found.values.shape == (7, 60)
    assert (tmp_path / "mine").read_text() == "mine"


def mapped_megabytes() -> float:
    """What of files counts as this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE / 1e6


def test_what_was_read_of_a_mapped_file_does_not_count_as_memory(tmp_path: Path) -> None:
    """Neither after the look at all of it, nor after percentiles, scaling and the axes of a span."""
    np.ones((1000, 25_000), np.float32).tofile(tmp_path / "features")
    values = np.memmap(tmp_path / "features", np.float32, "r+", shape=(1000, 25_000))
    values[0] = 2
    found, rows = Features(values, (slice(0, 10_000), slice(10_000, 25_000))), np.arange(0, 1000, 2)
    before = mapped_megabytes()
    features.require_sound(found)
    divisors = features.percentiles(found, rows=rows, percentile=99.9)
    assert found.scaled(divisors, rows[:9]).shape == (9, 25_000)
    Span.of(found, divisors, rows, torch.device("cpu"))
    assert mapped_megabytes() - before < 50  # the file has 100
