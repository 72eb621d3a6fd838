"""What the tests of the datasets share: archives made on the spot, and sets read back."""

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

Files = Callable[..., dict[str, bytes]]
Pack = Callable[[str, dict[str, bytes]], Path]
Picture = Callable[..., bytes]
CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Make a tar of these files, with gzip where its name ends in gz; folders are members too, as tar writes them."""

    def make(name: str, files: dict[str, bytes]) -> Path:
        path = tmp_path / name
        file = gzip.GzipFile(path, "wb", compresslevel=1) if name.endswith("gz") else path.open("wb")
        with file, tarfile.open(fileobj=file, mode="w") as tar:
            folders = dict.fromkeys(str(Path(member).parent) for member in files)
            for folder in folders:
                info = tarfile.TarInfo(folder)
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path

    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder that a set is written into."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def picture() -> Picture:
    """Encode a picture: its upper left quarter in the colour, the rest grey of a level that depends on `number`."""

    def make(number: int = 0, *, colour: str = "red", size: tuple[int, int] = (60, 40), kind: str = "JPEG") -> bytes:
        image = Image.new("RGB", size, (number * 3 % 256,) * 3)
        image.paste(colour, (0, 0, size[0] // 2, size[1] // 2))
        encoded = io.BytesIO()
        image.save(encoded, kind)
        return encoded.getvalue()

    return make


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Images of random bytes, the same for the same shape."""
    return lambda *shape: np.random.default_rng(0).integers(0, 256, shape, np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 did, in whose pickles the official archive is."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content: bytes) -> None:
        """One opcode for a byte string, which Python 3 does not write."""
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)  # type: ignore[attr-defined]

    dispatch[bytes] = save_bytes


def dumps(content: object, *, python: int) -> bytes:
    """Pickle as this version of Python and the NumPy of its time did."""
    if python == 3:
        return pickle.dumps(content, protocol=2)
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture
def cifar(noise: Callable[..., np.ndarray]) -> Files:
    """Six batches of `count` images each, the labels in turn, and the names."""

    def make(count: int = 20, *, python: int = 3, by_columns: bool = False) -> dict[str, bytes]:
        images = noise(6 * count, 3072)
        members = {"batches.meta": dumps({b"label_names": [name.encode() for name in CIFAR_NAMES]}, python=python)}
        for number in (4, 6, 3, 2, 5, 1):
            data = images[(number - 1) * count : number * count]
            batch = {
                b"batch_label": b"batch",
                b"labels": [(number + place) % 10 for place in range(count)],
                b"data": np.asfortranarray(data) if by_columns else data,
                b"filenames": [b"x.png"] * count,
            }
            members["test_batch" if number == 6 else f"data_batch_{number}"] = dumps(batch, python=python)
        return {f"cifar-10-batches-py/{name}": content for name, content in members.items()}

    return make
