"""Pictures from files of many kinds to RGB squares, and the growing file that holds them."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BufferedWriter, BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from PIL.ImageFile import ImageFile as PictureFile

from exemplar.errors import UserError
from exemplar.io import contents
from exemplar.io.jpeg import count_scans

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
MOST_PIXELS = 1 << 26  # 67 million, 8192 x 8192, of which reading takes 0.9 GB of memory at most
MOST_PIXELS_OF = {"WEBP": 1 << 25, "AVIF": 1 << 25}  # whose libraries hold a picture several times
MOST_REDUCED_PIXELS = 1 << 28  # of a JPEG that is not progressive, which is decoded at half its size or less
MOST_SIDE_PIXELS = 1 << 16  # beyond it Pillow's tables for scaling take more memory than the picture
MOST_SCANS = 100  # of a JPEG; each of a few bytes may cost a pass over all pixels
PIXELS_AT_ONCE = 1 << 22
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit would warn of what is read here, and stop what is reduced
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 24  # 16 MB of text or colour profile; with more than 1 MB it refuses the picture
ORIENTATION = 0x0112  # EXIF's tag
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PYTHONS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError)
UNDECODABLE = (*PYTHONS, struct.error, zlib.error)


class SizeError(ValueError):
    """A sound picture of more pixels than are read."""


class DepthError(ValueError):
    """A sound picture of values that cannot be scaled to 8 bits by a rule that suits them."""


def decode(source: Path | BytesIO, *, name: str, bits: int = 16) -> Image.Image:
    """The picture as a person sees it: RGB, upright, what is transparent on white, of several the first.

    Grey values of 16 bits of which no more than the lower `bits` are used give the upper 8 of these. Raises UserError
    that names it for a file that is broken, of another format, of too many pixels, or of floating-point values.
    """
    with explained(name, source), opened(source) as image:
        return as_seen(image, bits=bits)


@contextmanager
def explained(name: str, source: Path | BytesIO | None = None) -> Iterator[None]:
    """Raise a UserError that names the picture for whatever Pillow or this module raises of it in the block."""
    try:
        yield
    except (SizeError, DepthError) as error:
        raise UserError(f"{name} {error}") from None
    except MemoryError:
        raise UserError(f"{name} takes more memory than there is; scale it down") from None
    except UNDECODABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{name} cannot be read ({error.strerror})") from None
        said = shown_as(source) if source is not None and isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{name} is no whole picture ({said})") from None


def as_seen(image: Image.Image, *, bits: int = 16) -> Image.Image:
    """The same of a picture that is open; raises SizeError for one without pixels."""
    if not all(image.size):
        raise SizeError(f"has {image.width} x {image.height} pixels; expected at least one")
    found = eight_bit(upright(image), bits=bits)
    if has_deep_values(image) and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        found = ImageOps.invert(found)  # as Pillow does with 8 bits
    return opaque(found)


@contextmanager
def opened(source: Path | BytesIO) -> Iterator[PictureFile]:
    """Open a picture, whose pixels are not yet decoded; a large JPEG will be at a fraction of its size."""
    # Pillow warns of odd metadata, which do not concern the pixels
    with warnings.catch_warnings(action="ignore"), Image.open(source, formats=FORMATS) as image:
        jpeg = image.format in ("JPEG", "MPO")
        reducible = jpeg and not image.info.get("progressive")
        most = MOST_REDUCED_PIXELS if reducible else MOST_PIXELS_OF.get(str(image.format), MOST_PIXELS)
        size = f"{image.width} x {image.height} pixels"
        if image.width * image.height > most:
            raise SizeError(f"has {size}; at most {most:,} are read of such a file, so scale it down")
        if max(image.size) > MOST_SIDE_PIXELS:
            raise SizeError(f"has {size}; at most {MOST_SIDE_PIXELS:,} a side are read, so cut it into several")
        if jpeg and count_scans(cast("BufferedIOBase", image.fp)) > MOST_SCANS:
            raise SizeError(f"has more than {MOST_SCANS} scans of its pixels; save it anew")
        if image.width * image.height > MOST_PIXELS:
            image.draft(None, (image.width // 2, image.height // 2))
        yield image


def shown_as(source: Path | BytesIO) -> str:
    """What the first bytes of a file say that Pillow does not read."""
    if isinstance(source, BytesIO):
        head = source.getvalue()[: contents.HEAD_BYTES]
    else:
        with source.open("rb") as file:
            head = file.read(contents.HEAD_BYTES)
    said = contents.described(head)
    broken = ", but its beginning is broken" if (contents.kind(head) or "").upper() in FORMATS else ""
    return f"it {said}{broken}" if said else "nothing in it says so"


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its camera says; metadata that cannot be read turn nothing.

    `ImageOps.exif_transpose` writes all metadata anew and fails where any of them is odd.
    """
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except UNDECODABLE:
        return image
    return image.transpose(turn) if turn is not None else image


def has_deep_values(image: Image.Image) -> bool:
    """Whether its grey values have more than 8 bits, which Pillow would clip; it reduces those of colours itself."""
    return image.mode.startswith("I")


def eight_bit(image: Image.Image, *, bits: int) -> Image.Image:
    """The picture itself, or the upper 8 of the lower `bits` of its grey values; raises DepthError for other values."""
    if image.mode == "F":
        raise DepthError("has floating-point values, whose range is unknown; save it with 8 or 16 bits a value")
    if not has_deep_values(image):
        return image
    found = Image.new("L", image.size)
    for top, part in iter_parts(image):
        values = np.asarray(part)
        if values.min() < 0 or int(values.max()) >> bits:
            raise DepthError(f"has values from {values.min()} to {values.max()}; expected 0 to {(1 << bits) - 1:,}")
        found.paste(Image.fromarray((values >> (bits - 8)).astype(np.uint8)), (0, top))
    return found


def iter_parts(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture in pieces of its whole width, and where each begins, so that a copy of one takes little memory."""
    rows = max(1, PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


@dataclass(frozen=True)
class Glance:
    """What a file's header says before its pixels are decoded."""

    most_value: int = 0  # of grey values of more than 8 bits, 0 where they have 8
    several: bool = False  # an animation, or pages


def glance(source: Path | BytesIO) -> Glance:
    """Look at a file's header; of a file that cannot be read nothing is said, which `decode` will."""
    try:
        with opened(source) as image:
            several = image.format != "MPO" and getattr(image, "is_animated", False)  # MPO: a phone's own preview
            deep = iter_parts(image) if has_deep_values(image) else ()
            most = max((int(np.asarray(part).max()) for _, part in deep), default=0)
            return Glance(most, several)
    except UNDECODABLE:
        return Glance()


def opaque(image: Image.Image) -> Image.Image:
    """The picture in RGB; what is transparent shows white."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    found = Image.new("RGB", image.size)
    for top, part in iter_parts(image):
        white = Image.new("RGBA", part.size, "white")
        white.alpha_composite(part.convert("RGBA"))
        found.paste(white.convert("RGB"), (0, top))
    return found


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
