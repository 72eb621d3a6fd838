"""Pictures of every kind become RGB, and files that are none become one line."""

import io
import random
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from exemplar.datasets.images import Glance, cropped, decode, glance, growing, stretched
from exemplar.errors import UserError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def pixels(file: io.BytesIO) -> np.ndarray:
    """What `decode` makes of a file, [h w 3]."""
    image = decode(file, name="it")
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    """Black and white, grey of 8 and 16 bits, palettes, alpha and printer's colours: white stays white, black black."""
    image = Image.new("L", (4, 2), "white")
    image.paste("black", (0, 0, 2, 2))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    file = encoded(image if mode == "I;16" else image.convert(mode), *(("JPEG",) if mode == "CMYK" else ()))
    shown = pixels(file)
    assert (shown[:, :2] < 3).all()
    assert (shown[:, 2:] > 252).all()


def test_what_is_transparent_shows_white() -> None:
    """The colour under a transparent pixel is no part of the picture: alpha, half of it, and a palette's one colour."""
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    image.putpixel((2, 0), (200, 0, 0, 128))
    assert pixels(encoded(image))[0].tolist() == [[200, 0, 0], [255, 255, 255], [227, 127, 127]]
    assert pixels(encoded(image, "WEBP", lossless=True))[0, 1].tolist() == [255, 255, 255]
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putpixel((0, 0), 0)
    assert pixels(encoded(palette, transparency=0))[0].tolist() == [[255, 255, 255], [9, 9, 9]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_s_rotation_is_undone(orientation: int) -> None:
    """A picture stored in any of EXIF's eight ways is shown as it was seen: red above left, taller than wide."""
    seen = Image.new("RGB", (16, 32), "black")
    seen.paste("red", (0, 0, 8, 16))
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]
    stored = seen if undo is None else seen.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = pixels(encoded(stored, exif=exif))
    assert np.array_equal(shown, np.asarray(seen))


def test_odd_metadata_turn_nothing_and_stop_nothing() -> None:
    """A rotated picture whose EXIF has a number that cannot be written again is turned like any other."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[258] = 7
    content = encoded(Image.new("RGB", (16, 32), "red"), "JPEG", exif=exif).getvalue()
    entry = struct.pack("<HHIHH", 258, 3, 1, 7, 0)
    assert entry in content or struct.pack(">HHIHH", 258, 3, 1, 7, 0) in content
    for order, short in (("<", entry), (">", struct.pack(">HHIHH", 258, 3, 1, 7, 0))):
        content = content.replace(short, struct.pack(f"{order}HHIi", 258, 9, 1, -5))
    assert pixels(io.BytesIO(content)).shape == (16, 32, 3)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF", "PPM", "MPO"])
def test_other_formats_that_pillow_reads_are_read(kind: str) -> None:
    """GIF, BMP, TIFF, AVIF, PPM, and the two pictures in one file that some phones write."""
    image = Image.new("RGB", (32, 16), "red")
    assert np.abs(pixels(encoded(image, kind)).astype(int) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize(("dtype", "kind"), [(np.uint16, "PNG"), (np.uint16, "TIFF"), (np.int32, "TIFF")])
def test_deep_values_are_scaled_from_the_bits_that_are_used(dtype: type, kind: str) -> None:
    """The upper 8 of 12 bits, when 12 are used; values beyond them are refused and never wrapped."""
    image = Image.fromarray(np.array([[0, 16, 4095]], dtype))
    seen = decode(encoded(image, kind), name="it", bits=12)
    assert np.asarray(seen)[0, :, 0].tolist() == [0, 1, 255]
    with pytest.raises(UserError, match=r"it has values from 0 to 4095; expected 0 to 1,023"):
        decode(encoded(image, kind), name="it", bits=10)


def test_deep_values_that_count_from_white_are_turned_round() -> None:
    """A scan or an X-ray whose 0 is white is no negative, whether its values have 8 bits or 16."""
    for bits, light in ((8, 250), (16, 64_250)):
        values = np.full((24, 24), light, f"u{bits // 8}")
        content = bytearray(encoded(Image.fromarray(values), "TIFF").getvalue())
        tag = struct.pack("<HHI", 262, 3, 1)
        place = content.index(tag) + len(tag)
        assert content[place] == 1
        content[place] = 0
        assert pixels(io.BytesIO(content)).max() < 10


@pytest.mark.parametrize("metadata", ["text", "unicode text", "profile"])
def test_a_png_with_megabytes_of_metadata_is_read(metadata: str) -> None:
    """As drawing programs and generators of pictures write them, their whole work flow as text."""
    info = PngInfo()
    if metadata != "profile":
        (info.add_text if metadata == "text" else info.add_itxt)("workflow", "x" * 3_000_000, zip=True)
    options = {"icc_profile": bytes(3_000_000)} if metadata == "profile" else {"pnginfo": info}
    assert pixels(encoded(Image.new("RGB", (8, 8), "red"), **options)).shape == (8, 8, 3)


def test_floating_point_values_are_refused() -> None:
    """Their range is unknown: between 0 and 1, all of them would be black."""
    image = Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    with pytest.raises(UserError, match=r"it has floating-point values, .* save it with 8 or 16 bits a value"):
        decode(encoded(image, "TIFF"), name="it")


def test_a_glance_says_what_the_header_does(tmp_path: Path) -> None:
    """The largest of deep values, and whether there is more than one picture; of a broken file it says nothing."""
    path = tmp_path / "x"
    page = Image.new("L", (4, 4))
    for content, expected in (
        (encoded(Image.fromarray(np.array([[7, 900]], np.uint16))), Glance(900, False)),
        (encoded(page, "TIFF", save_all=True, append_images=[page.copy()]), Glance(0, True)),
        (encoded(page.convert("RGB"), "JPEG"), Glance(0, False)),
        (io.BytesIO(b"broken"), Glance(0, False)),
    ):
        path.write_bytes(content.getvalue())
        assert glance(path) == expected


def test_a_phone_s_large_jpeg_is_read_at_half_its_size() -> None:
    """108 million pixels; a progressive one would need its memory whole, and is told by its size."""
    large = Image.new("L", (12_000, 9_000), 77)
    assert decode(encoded(large, "JPEG"), name="it").size == (6_000, 4_500)
    with pytest.raises(UserError, match=r"it has 12000 x 9000 pixels; at most 67,108,864 .* scale it down"):
        decode(encoded(large, "JPEG", progressive=True), name="it")


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\1IDAT"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"hello", "nothing in it says so"),
        (png_header(8193, 8193), "8193 x 8193 pixels; at most 67,108,864 are read"),
        (png_header(60_000, 60_000), "60000 x 60000 pixels; at most 67,108,864 are read"),
        (png_header(4, 4), ""),
        (png_header(4, 4)[:20] + bytes(40), "it has the format PNG, but its beginning is broken"),
        (b"\0\0\0\x18ftypheic" + bytes(60), "it has the format HEIC, which the package pillow-heif converts"),
        (b"%PDF-1.7\n" + bytes(60), "it has the format PDF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        (b"<html><title>404</title>", "it is a web page"),
        (encoded(Image.effect_noise((64, 64), 50), "JPEG").getvalue()[:-300], "truncated"),
        (encoded(Image.effect_noise((64, 64), 50), "PNG").getvalue()[:-300], ""),
        (encoded(Image.effect_noise((64, 64), 50), "WEBP").getvalue()[:-300], ""),
    ],
    ids=[
        "empty",
        "text",
        "large",
        "bomb",
        "header",
        "broken",
        "heic",
        "pdf",
        "lfs",
        "html",
        "cut jpeg",
        "cut png",
        "cut webp",
    ],
)
def test_a_file_that_is_no_whole_picture_is_told(content: bytes, reason: str) -> None:
    """Empty, of another kind, cut short, or of a size that only means to fill the memory."""
    with pytest.raises(UserError, match=r"it (is no whole picture|has \d+ x)") as caught:
        decode(io.BytesIO(content), name="it")
    assert reason in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_flipped_bits_give_a_picture_or_one_line(kind: str) -> None:
    """Files with a few random bits flipped: a picture or a UserError, nothing else."""
    exif = Image.Exif()
    exif[0x0112] = 6
    good = encoded(Image.effect_noise((24, 24), 50).convert("RGB"), kind, exif=exif).getvalue()
    generator = random.Random(1)
    for _ in range(150):
        content = bytearray(good)
        for _ in range(generator.randint(1, 6)):
            content[generator.randrange(len(good))] ^= 1 << generator.randrange(8)
        try:
            pixels(io.BytesIO(content))
        except UserError:
            continue


def test_a_crop_is_the_middle_and_a_stretch_is_the_whole() -> None:
    """Of a wide picture with a border of its own colour left and right, only the crop is free of the border."""
    wide = Image.new("RGB", (40, 20), "lime")
    wide.paste("red", (10, 0, 30, 20))
    for image in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
        middle = cropped(image, side_pixels=8)
        whole = stretched(image, side_pixels=8)
        assert (middle.shape, whole.shape) == ((3, 8, 8), (3, 8, 8))
        assert (middle[0] == 255).all()
        assert (middle[1] == 0).all()
        assert whole[:, 0, 0].tolist() == [0, 255, 0]
        assert (whole[1] > 128).mean() == pytest.approx(0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 9)])
def test_pictures_of_any_size_fit(size: tuple[int, int]) -> None:
    """Small and thin pictures are enlarged."""
    assert (cropped(Image.new("RGB", size, "red"), side_pixels=8)[0] == 255).all()


def test_a_growing_file_is_what_was_appended(tmp_path: Path) -> None:
    """Blocks of any length are one array in the end, whose header tells how many images there are."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 3, 4, 4), np.uint8)
    for parts in ([0], [1, 9], [1000], [300, 300, 400]):
        with growing(tmp_path / "images.npy", side_pixels=4) as file:
            for start, count in zip(np.cumsum([0, *parts[:-1]]), parts, strict=True):
                file.append(images[start : start + count].transpose(0, 1, 3, 2))
        assert np.array_equal(np.load(tmp_path / "images.npy"), images[: sum(parts)].transpose(0, 1, 3, 2))


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """What the disk refuses is one line that names the file; a limit on file sizes stands for the full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with (
            pytest.raises(UserError, match=r"cannot write .*images.npy \(File too large\)"),
            growing(tmp_path / "images.npy", side_pixels=32) as file,
        ):
            file.append(np.zeros((10, 3, 32, 32), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
