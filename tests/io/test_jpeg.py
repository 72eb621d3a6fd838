"""What a JPEG's markers say of its passes."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exemplar.datasets.images import decode
from exemplar.errors import UserError
from exemplar.io import jpeg

SCAN, END, COMMENT = b"\xff\xda", b"\xff\xd9", b"\xff\xfe"


def picture(**options: bool | int) -> bytes:
    """A JPEG of noise."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def segment(content: bytes) -> bytes:
    """A comment."""
    return COMMENT + (len(content) + 2).to_bytes(2) + content


def scans(content: bytes) -> int:
    return jpeg.count_scans(io.BytesIO(content))


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 1}, {"progressive": True}])
def test_each_start_of_a_scan_is_counted(options: dict[str, bool | int]):
    """One, also where restarts stand among the pixels; those of a progressive file are all."""
    content = picture(**options)
    assert scans(content) == content.count(SCAN)
    assert (scans(content) > 1) == ("progressive" in options)


@pytest.mark.parametrize("place", [4094, 4095, 4096, 4097, 70_000])
def test_a_marker_is_found_wherever_it_stands(place: int):
    """Blocks that are read end anywhere, also between the two bytes of a marker."""
    pixels = b"\x11" * place
    head = SCAN + (2).to_bytes(2)
    assert scans(b"\xff\xd8" + head + pixels + head + b"\xff\x00\xff\xd3\xff" + END) == 2


def test_what_segments_hold_is_no_marker():
    """An end or a scan in a comment, as a thumbnail has them, neither ends nor adds anything."""
    content = picture(progressive=True)
    assert scans(content[:2] + segment(SCAN * 200 + END) + content[2:]) == scans(content)


def test_what_follows_the_picture_is_not_looked_at(tmp_path: Path):
    """A phone's motion photo has a film there."""
    film = np.random.default_rng(0).bytes(12_000_000)
    assert film.count(SCAN) > 100
    (tmp_path / "motion.jpg").write_bytes(picture() + film)
    assert decode(tmp_path / "motion.jpg", name="it").size == (96, 64)


@pytest.mark.timeout(20)
def test_a_file_of_segments_alone_is_told():
    """Two million empty ones take no time."""
    content = picture()
    with pytest.raises(UserError, match=r"^it is no whole picture \(it has more than 10,000 segments\)$"):
        decode(io.BytesIO(content[:2] + segment(b"") * 2_000_000 + content[2:]), name="it")


def test_a_file_that_is_cut_off_ends():
    """Wherever that is."""
    content = picture(progressive=True)
    for length in range(2, len(content), 97):
        assert scans(content[:length]) <= scans(content)
