"""Pictures from files of many kinds to RGB squares, and the growing file that holds them."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from exemplar.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 1 << 26  # 67 million, 8192 x 8192: decoded, such a picture takes 0.2 GB
UNDECODABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode(source: Path | BytesIO, *, name: str) -> Image.Image:
    """The picture as a person sees it: RGB, upright, what is transparent on white.

    Raises UserError that names it for a file that is broken, of another format or of too many pixels.
    """
    try:
        # Pillow warns of odd metadata, which do not concern the pixels
        with warnings.catch_warnings(action="ignore"), Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, at most {MOST_PIXELS:,} are read")
            return opaque(eight_bit(ImageOps.exif_transpose(image)))
    except UNDECODABLE as error:
        reason = "nothing in it says so" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{name} is no whole JPEG, PNG or WebP picture ({reason})") from None


def eight_bit(image: Image.Image) -> Image.Image:
    """The picture itself, or the upper 8 bits of grey values of 16, which Pillow would clip."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))


def opaque(image: Image.Image) -> Image.Image:
    """The picture in RGB; what is transparent shows white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def stretched(image: Image.Image, *, side_pixels: int) -> UInt8[np.ndarray, "3 side side"]:
    """All of the picture, scaled to a square whatever its shape (bicubic, low-passed where it shrinks)."""
    return channels_first(image.resize((side_pixels, side_pixels), Image.Resampling.BICUBIC))


def cropped(image: Image.Image, *, side_pixels: int) -> UInt8[np.ndarray, "3 side side"]:
    """The largest square in the middle of the picture, scaled (bicubic, low-passed where it shrinks)."""
    short = min(image.size)
    left, upper = (image.width - short) // 2, (image.height - short) // 2
    return stretched(image.crop((left, upper, left + short, upper + short)), side_pixels=side_pixels)


def channels_first(image: Image.Image) -> UInt8[np.ndarray, "3 h w"]:
    """The picture as an array."""
    return np.asarray(image).transpose(2, 0, 1)


class ImageFile:
    """A .npy file of images that grows at its end, so that no more than one block of them is in memory."""

    def __init__(self, path: Path, file: BufferedWriter, side_pixels: int) -> None:
        self.path, self.file, self.side_pixels = path, file, side_pixels
        self.count = 0
        self.write_header()

    def append(self, images: UInt8[np.ndarray, "n 3 h w"]) -> None:
        """Write more images behind those that are there."""
        self.file.write(np.ascontiguousarray(images).data)
        self.count += len(images)

    def write_header(self) -> None:
        """Write the number of images into the header, which NumPy pads so that the number may grow in place."""
        shape = (self.count, 3, self.side_pixels, self.side_pixels)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        self.file.seek(0)
        np.lib.format.write_array_header_1_0(self.file, header)


@contextmanager
def growing(path: Path, *, side_pixels: int) -> Iterator[ImageFile]:
    """Make a .npy file of uint8 [n 3 side side] whose n is what the block has appended.

    Raises UserError where the disk is full: with plain writes that is an error, with a memory map a signal that kills.
    """
    try:
        with path.open("wb") as file:
            images = ImageFile(path, file, side_pixels)
            yield images
            images.write_header()
    except OSError as error:  # reading has its own words: what comes here is of the file that is written
        raise UserError(f"cannot write {path} ({error.strerror})") from None
