"""What hostile bytes may take: each reader has a bound of memory and time, and is held to it in its own process."""

import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bounded import told
from PIL import Image

from exemplar.datasets import caltech101, cifar10, folder
from exemplar.datasets.fetching import archives, unpacking
from exemplar.datasets.images import decode
from exemplar.io import foreign
from exemplar.models.saved import load_encoder
from exemplar.params.load import load_params
from exemplar.probe import features
from exemplar.probe.features import Features
from exemplar.surrogate.seeds import Seeds
from exemplar.training.checkpoints import load_state
from exemplar.use import describe, tables

PICTURE_MEGABYTES = 900  # docs/faults.md names it
PAX = {"format": tarfile.PAX_FORMAT}


def tar(*members: tuple[str, bytes], **headers: str) -> bytes:
    """A tar of these files, each with these entries in a header of its own."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **PAX) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(content), dict(headers)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def png(width: int, height: int, *, kind: int, depth: int, row: int) -> bytes:
    """A PNG of zeros: `kind` is 0 for grey and 4 for grey with transparency, `row` the bytes of a row."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(1)
    rows = bytes(1 + row)
    packed = b"".join(packer.compress(rows) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def xz_of_large_window(content: bytes) -> bytes:
    """A file of xz that asks for 3 GB to unpack in, whatever it holds."""
    packed = bytearray(lzma.compress(content, check=lzma.CHECK_CRC32))
    end = 12 + (packed[12] + 1) * 4
    packed[packed.index(b"\x21\x01", 12) + 2] = 39
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(bytes(packed[12 : end - 4])))
    return bytes(packed)


def in_zip(method: int, content: bytes = bytes(1 << 24)) -> bytes:
    """A zip of a picture of zeros, packed in this way."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as package:
        package.writestr("101_ObjectCategories/a/1.jpg", content)
    return file.getvalue()


def pax_header(content: bytes) -> bytes:
    """A header of the POSIX format in front of a file, with any content."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


FILE = tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT)
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a header of a million digits": (lambda: pax_header(b"1" * 1_000_000) + FILE, "impossible size"),
    "2,000 headers of 16 kB of digits": (
        lambda: gzip.compress((pax_header(b"1" * 16_000) + FILE) * 2000, 1),
        "a header that no tar of pictures has",
    ),
    "a table of a sparse file": (
        lambda: tar(("a", b"1\n"), **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        "a header that no tar of pictures has",
    ),
    "members with comments of a megabyte": (lambda: tar(("a", b""), comment="c" * 1_000_000), "impossible size"),
    "a length below 0": (lambda: tar(("a", bytes(512)), size="-1024") + tar(("b", b"")), "impossible size"),
    "a length of a billion megabytes": (lambda: tar(("a", b""), size=str(10**15)), "impossible size"),
    "thirty thousand members": (lambda: gzip.compress(FILE * 30_000 + bytes(1024), 1), "has no pictures"),
    "xz with a window of 3 GB": (lambda: xz_of_large_window(tar(("a", b"x"))), "Memory usage limit exceeded"),
    "a zip with LZMA": (lambda: in_zip(zipfile.ZIP_LZMA), "expected its files stored or deflated"),
    "a zip with bzip2": (lambda: in_zip(zipfile.ZIP_BZIP2), "expected its files stored or deflated"),
    "a zip of 16 MB of zeros": (lambda: in_zip(zipfile.ZIP_DEFLATED), "no whole picture"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_takes_little_memory_and_time(name: str, tmp_path: Path) -> None:
    """60 MB and five seconds, whatever its headers say and whatever it is packed with."""
    made, line = ARCHIVES[name]
    (tmp_path / "set").write_bytes(made())
    write = partial(caltech101.write_unlabeled, tmp_path / "set", tmp_path)
    assert line in told(write, megabytes=60, seconds=5)


def test_what_an_archive_unpacks_to_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no member of it is wanted, for each way of packing."""
    monkeypatch.setattr(unpacking, "MOST_UNPACKED_BYTES", 1 << 20)
    monkeypatch.setattr(archives, "MOST_UNPACKED_BYTES", 1 << 20)
    plain = tar(*((f"other/{number}", bytes(1 << 18)) for number in range(5)))
    for content in (plain, gzip.compress(plain), lzma.compress(plain)):
        (tmp_path / "set").write_bytes(content)
        said = told(partial(caltech101.write_unlabeled, tmp_path / "set", tmp_path), megabytes=60, seconds=5)
        assert "unpacked it has more than 1,048,576 bytes" in said


def test_xz_of_several_parts_is_read_whole(tmp_path: Path) -> None:
    """As `cat a.xz b.xz` and parallel packers make it, with zeros between them; one that is cut is told."""
    plain = tar(("stl10_binary/x.bin", bytes(range(256)) * 99))
    packed = lzma.compress(plain[:9000]) + bytes(8) + lzma.compress(plain[9000:])
    (tmp_path / "set").write_bytes(packed)
    (member,) = ((each.path.name, each.read(most_bytes=1 << 20)) for each in archives.members(tmp_path / "set"))
    assert member == ("x.bin", bytes(range(256)) * 99)
    (tmp_path / "set").write_bytes(packed[:-40])
    assert "is cut, corrupt" in told(lambda: list(archives.members(tmp_path / "set")), megabytes=60, seconds=5)


PICKLES = {
    "an array of 1.5 GB": b"\x80\x05\x96" + (1_500_000_000).to_bytes(8, "little"),
    "six million lists": b"\x80\x02" + b"]" * 6_000_000 + b".",
    "a name of 20 MB": b"\x80\x02c" + b"n" * 20_000_000 + b"\nx\n.",
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_batch_takes_little_memory_and_time(name: str, tmp_path: Path) -> None:
    """Ten times the 31 MB that it should have."""
    (tmp_path / "set").write_bytes(tar(("cifar-10-batches-py/test_batch", PICKLES[name])))
    write = partial(cifar10.write_unlabeled, tmp_path / "set", tmp_path, unlabeled_side=32)
    said = told(write, megabytes=310, seconds=5)
    assert "is no batch of CIFAR's format" in said
    assert "MemoryError" not in said


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan stands there so many times more."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 9).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * scans + whole[-2:]


def animated() -> bytes:
    """A WebP of few bytes that asks for a canvas of 8192 x 8192."""
    file = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    content = bytearray(file.getvalue())
    place = content.index(b"VP8X") + 12
    content[place : place + 6] = b"\xff\x1f\x00\xff\x1f\x00"
    return bytes(content)


PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "grey with transparency, 8192 x 8192": (lambda: png(8192, 8192, kind=4, depth=8, row=2 * 8192), ""),
    "grey of 16 bits, 8192 x 8192": (lambda: png(8192, 8192, kind=0, depth=16, row=2 * 8192), ""),
    "a line of 67,108,864 pixels": (lambda: png(1 << 26, 1, kind=0, depth=8, row=1 << 26), "65,536 a side are read"),
    "a canvas of an animation": (animated, "at most 33,554,432 are read of such a file"),
    "a thousand scans": (lambda: progressive(1000), "has more than 100 scans"),
    "twenty scans": (lambda: progressive(20), ""),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_takes_no_more_memory_than_the_page_says(name: str, tmp_path: Path) -> None:
    """Whether it is read or refused."""
    made, line = PICTURES[name]
    (tmp_path / "1.png").write_bytes(made())
    said = told(lambda: decode(tmp_path / "1.png", name="it"), megabytes=PICTURE_MEGABYTES, seconds=9)
    assert line in said if line else said == ""


def test_rows_of_large_pictures_are_looked_at_a_few_at_once(tmp_path: Path) -> None:
    """Raw pixels of 1024 x 1024 have 3 million numbers a picture, of which a hundred would take 1.3 GB."""
    width = 1 << 21
    (tmp_path / "x").touch()
    os.truncate(tmp_path / "x", 40 * width * 4)
    mapped = np.memmap(tmp_path / "x", np.float32, "r", shape=(40, width))
    found = Features(mapped, (slice(0, width),))
    said = told(lambda: features.constant_columns(found).all(), megabytes=220, seconds=9)
    assert said == ""


def test_a_picture_beyond_the_memory_is_told(tmp_path: Path) -> None:
    """And where pictures may be skipped, it is."""
    (tmp_path / "1.png").write_bytes(png(8192, 8192, kind=4, depth=8, row=2 * 8192))
    said = told(lambda: decode(tmp_path / "1.png", name="it"), megabytes=200, seconds=9)
    assert said == "it takes more memory than there is; scale it down"


def test_options_beyond_any_machine_are_told(tmp_path: Path) -> None:
    """Before a picture is read."""
    write = partial(folder.write_labeled, tmp_path, tmp_path, train_per_class=1, skip_broken=False)
    assert "side is 80000; expected a number from 1 to 2,048" in told(
        partial(write, side=80_000, folds=1), megabytes=60, seconds=5
    )
    assert "folds is 1000000000; expected a number" in told(
        partial(write, side=8, folds=10**9), megabytes=60, seconds=5
    )


def test_packed_seeds_and_states_are_refused(tmp_path: Path) -> None:
    """Neither is written packed, and a few bytes could stand for any number."""
    np.savez_compressed(tmp_path / "seeds.npz", image=np.zeros(40_000_000, np.int64))
    assert "it is packed" in told(lambda: Seeds.load(tmp_path / "seeds.npz"), megabytes=60, seconds=5)
    with pytest.raises(zipfile.BadZipFile, match="it is packed"):
        load_state(tmp_path / "seeds.npz")


def encoder(header: dict[str, object], *, spaces: int = 0) -> bytes:
    """The beginning of an encoder's file."""
    text = json.dumps({"__metadata__": {"model": "4c5-8f"}} | header).encode() + b" " * spaces
    return struct.pack("<Q", len(text)) + text


TENSOR = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
LARGE = {"dtype": "F32", "shape": [1 << 28], "data_offsets": [0, 1 << 30]}
ENCODERS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "100,000 tensors": (lambda: encoder({f"t{n}": TENSOR for n in range(100_000)}), 0, "at most 1,048,576 are read"),
    "a header of spaces": (lambda: encoder({}, spaces=1 << 21), 0, "at most 1,048,576 are read"),
    "a header of 8 EB": (lambda: bytes([255] * 8), 0, "at most 1,048,576 are read"),
    "a tensor of 1 GB that is no encoder's": (lambda: encoder({"mean": LARGE}), 1 << 30, "are not those of its model"),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_takes_little_memory_and_time(name: str, tmp_path: Path) -> None:
    """Nothing of its numbers is read before every shape is known to be right; its file is mapped, twice."""
    made, length, line = ENCODERS[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content := made())
    os.truncate(path, len(content) + length)
    assert line in told(partial(load_encoder, path), megabytes=60 + (length >> 19), seconds=5)
    said = told(partial(describe.model_of, path), megabytes=60 + (length >> 19), seconds=5)
    assert ("at most 1,048,576" in said) == (length == 0)


def test_the_names_of_features_are_read_up_to_a_length(tmp_path: Path) -> None:
    """The list beside a file of features is read no further than its rows could need, and must be one of texts."""
    np.save(tmp_path / "x.npy", np.zeros((3, 4), np.float32))
    read = partial(lambda path: list(tables.load(path)), tmp_path / "x.npy")
    (tmp_path / "x.txt").write_bytes(b"")
    os.truncate(tmp_path / "x.txt", 3 << 30)
    assert "it has more than 15,000 bytes" in told(read, megabytes=60, seconds=5)
    (tmp_path / "x.txt").write_bytes(b"a\n\xff\nb\n")
    assert "cannot read" in told(read, megabytes=60, seconds=5)
    (tmp_path / "x.txt").unlink()
    assert "cannot read" in told(read, megabytes=60, seconds=5)


LAUGHS = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))])
YAMLS = {
    "aliases of aliases": (LAUGHS, "more than 100,000 values"),
    "an alias of itself": ("a: &a [*a]", "more than 100,000 values"),
    "brackets without an end": ("a: " + "[" * 100_000, "params.yaml is not YAML"),
    "a line of spaces": ("a:" + " " * 300_000 + "b", "more than 262,144 bytes"),
    "digits": ("a: " + "1" * 200_000, "params.yaml"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_takes_little_memory_and_time(name: str, tmp_path: Path) -> None:
    """Whatever its lines stand for."""
    content, line = YAMLS[name]
    (tmp_path / "params.yaml").write_text(content)
    said = told(lambda: load_params(tmp_path / "params.yaml"), megabytes=300, seconds=9)
    assert line in said
    assert len(said) < 3000


def test_a_record_is_read_up_to_a_length(tmp_path: Path) -> None:
    """A sparse file of 10 GB takes no disk, but would take all memory."""
    with (tmp_path / "classes.json").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(ValueError, match="it has more than 33,554,432 bytes"):
        foreign.read(tmp_path / "classes.json")
    (tmp_path / "classes.json").write_text(json.dumps(["a"]))
    assert foreign.read(tmp_path / "classes.json") == b'["a"]'
