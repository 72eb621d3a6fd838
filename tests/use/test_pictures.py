"""Files of pictures become features batch by batch."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exemplar.errors import UserError
from exemplar.use.loaded import load_encoder
from exemplar.use.pictures import READ_AT_ONCE, Reader, find, iter_features


def test_pictures_are_found_in_and_below_folders_in_the_order_of_their_names(pictures: Path):
    """A file that is named is taken whatever it is called; hidden files and other suffixes are passed over."""
    (pictures / "notes.txt").touch()
    (pictures / ".hidden.png").touch()
    names = [str(path.relative_to(pictures)) for path in find([pictures])]
    assert names == ["a.png", "b.png", "below/d.png", "c.webp", "grey.png"]
    assert find([pictures / "notes.txt", pictures])[0] == pictures / "notes.txt"


def test_memory_does_not_grow_with_the_number_of_pictures(pictures: Path, encoder_file: Path):
    """While one batch is computed the next is read, and no other."""
    read = []

    class Counting(Reader):
        def read(self, paths):
            read.append(len(paths))
            return super().read(paths)

    paths = [pictures / "a.png"] * (5 * READ_AT_ONCE)
    rows = iter_features(load_encoder(encoder_file), paths, Counting(36, skip_broken=False))
    for number in range(1, 4):
        found, features = next(rows)
        assert len(found) == len(features)
        assert len(read) <= number + 1
    rows.close()


def test_one_row_stands_for_each_picture_that_is_whole(pictures: Path, encoder_file: Path):
    """In their order, whatever their batch; what was skipped is remembered."""
    broken = pictures / "b2.png"
    broken.write_bytes(b"no picture")
    encoder, paths = load_encoder(encoder_file), find([pictures]) * 20
    reader = Reader(36, skip_broken=True)
    batches = list(iter_features(encoder, paths, reader))
    whole = [path for path in paths if path != broken]
    assert [path for found, _ in batches for path in found] == whole
    assert reader.skipped == [str(broken)] * 20
    features = np.concatenate([rows for _, rows in batches])
    np.testing.assert_allclose(features[:5], encoder.features(whole[:5], side=36), rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match=r"b2.png is no whole picture .*; take it out, or pass --skip"):
        list(iter_features(encoder, paths, Reader(36, skip_broken=False)))


def test_a_picture_is_seen_as_a_person_sees_it(tmp_path: Path, encoder_file: Path):
    """Turned as its metadata say, and what is transparent on white."""
    encoder = load_encoder(encoder_file)
    upright = Image.effect_noise((40, 50), 64).convert("RGB")
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(encoder.features(tmp_path / "turned.png"), encoder.features(upright))
