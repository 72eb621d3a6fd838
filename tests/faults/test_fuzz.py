"""Fuzz for a bounded time: whatever the four parsers are given, a result or one line, and nothing else happens."""

import gzip
import io
import pickle
import random
import resource
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from exemplar.datasets import caltech101, cifar10, folder, stl10
from exemplar.errors import UserError
from exemplar.io.trees import PICTURES as PICTURES_READ
from exemplar.models import architecture
from exemplar.models.architecture import Conv, Full
from exemplar.params import schema
from exemplar.params.load import load_params, load_yaml
from exemplar.params.mistakes import explain

ROOT = Path(__file__).parents[2]
PUBLISHED: dict[str, Any] = load_yaml(ROOT / "params.yaml")
MOST_MEGABYTES = 400  # what hostile bytes may add to the memory of this process
bounded = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
few, many = settings(bounded, max_examples=60), settings(bounded, max_examples=300)


def ends_well(call: Callable[[], object]) -> bool:
    """Whether a call gave a result; if not, its line is of a length that is read. Memory is bounded either way."""
    before, line = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, None
    try:
        call()
    except UserError as error:
        line = str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEGABYTES << 10
    assert line is None or 0 < len(line) < 3000
    return line is None


LAYERS = st.one_of(
    st.builds(Conv, st.integers(1, 65_536), st.integers(0, 49).map(lambda half: 2 * half + 1), st.integers(1, 4)),
    st.builds(Full, st.integers(1, 65_536)),
)


@many
@given(st.one_of(st.text(max_size=60), st.text("0123456789cfsx-", max_size=30)))
def test_any_text_is_an_architecture_or_one_line(text: str) -> None:
    """And what is one is written as it was read."""
    if ends_well(lambda: architecture.parse(text)):
        assert architecture.to_string(architecture.parse(text)) == text


@many
@given(st.lists(LAYERS, max_size=8))
def test_layers_in_any_order_are_read_back_or_refused(layers: list[Conv | Full]) -> None:
    """Convolutions first, fully connected ones last."""
    found = ends_well(lambda: architecture.parse(architecture.to_string(tuple(layers))))
    kinds = [isinstance(layer, Full) for layer in layers]
    assert found == (len(set(kinds)) == 2 and kinds == sorted(kinds))


HUGE = st.just(5000).map(lambda digits: 10**digits)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), HUGE),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


def places(section: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every place in params.yaml."""
    found = []
    for key, value in section.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += places(value, (*above, key))
    return found


@settings(bounded, max_examples=120)
@given(st.sampled_from(places(PUBLISHED)), VALUES)
def test_any_value_anywhere_in_params_is_taken_or_told(place: tuple[str, ...], value: object) -> None:
    """Wrong types, huge numbers, numbers that are none, trees where leaves belong."""
    *above, last = place
    content = dict(PUBLISHED)
    section = content
    for key in above:
        section[key] = dict(section[key])
        section = section[key]
    section[last] = value

    def read() -> None:
        try:
            schema.Params.model_validate(content)
        except ValidationError as error:
            raise UserError(explain(error, schema.Params)) from None

    ends_well(read)


@few
@given(st.one_of(st.binary(max_size=80), st.text("{}[]:,-?!&*#|>%@`'\" \n\tab01.e~", max_size=60).map(str.encode)))
def test_any_bytes_as_params_are_told(tmp_path: Path, content: bytes) -> None:
    """No YAML, no mapping, or one that lacks everything."""
    (tmp_path / "params.yaml").write_bytes(content)
    assert not ends_well(lambda: load_params(tmp_path / "params.yaml"))


def picture(kind: str, **options: object) -> bytes:
    """A small whole file."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def with_exif() -> bytes:
    """A picture that a camera has turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("JPEG", exif=exif)


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
PICTURES = [*map(picture, KINDS), with_exif()]
MUTATIONS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)


def mutated(content: bytes, changes: list[tuple[int, int]], length: int) -> bytes:
    """Bytes replaced at some places, and the end cut off."""
    broken = bytearray(content)
    for place, value in changes:
        broken[place % len(broken)] = value
    return bytes(broken[: length or None])


@few
@given(st.sampled_from(PICTURES), MUTATIONS, st.one_of(st.just(0), st.integers(1, 900)), st.sampled_from(PICTURES_READ))
def test_any_bytes_in_a_folder_of_pictures_are_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, changes: list[tuple[int, int]], length: int, suffix: str
) -> None:
    """A broken picture is named; nothing is written but images.npy."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("a", "b", "out"):
        (tree / name).mkdir()
    for place in ("a/1", "a/2", "b/1", "b/2"):
        (tree / f"{place}.png").write_bytes(PICTURES[1])
    (tree / f"a/3{suffix}").write_bytes(mutated(whole, changes, length))
    out = tree / "out"
    options = {"side": 8, "train_per_class": 1, "folds": 1, "skip_broken": False}
    files = {path for path in tree.rglob("*") if path.is_file()}
    ends_well(lambda: folder.write_unlabeled(tree, out, **options))
    assert {path for path in tree.rglob("*") if path.is_file()} - files <= {out / "images.npy"}


def tar(members: dict[str, bytes]) -> bytes:
    """A tar of these files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(content: bytes) -> bytes:
    """A zip around the tar of Caltech-101."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("caltech-101/101_ObjectCategories.tar.gz", content)
    return file.getvalue()


def batch() -> bytes:
    """A batch of CIFAR with two images."""
    return pickle.dumps({b"labels": [0, 1], b"data": np.zeros((2, 3072), np.uint8)}, protocol=2)


CIFAR = tar(
    {name: batch() for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")}
    | {"batches.meta": pickle.dumps({b"label_names": [b"a", b"b"]}, protocol=2)}
)
CALTECH = tar({f"101_ObjectCategories/{name}/1.jpg": PICTURES[0] for name in "ab"})
STL = tar({"stl10_binary/unlabeled_X.bin": bytes(3 * 96 * 96)})
ARCHIVES = [
    (partial(cifar10.write_unlabeled, unlabeled_side=32), CIFAR),
    (partial(cifar10.write_unlabeled, unlabeled_side=32), gzip.compress(CIFAR, mtime=0)),
    (stl10.write_unlabeled, STL),
    (stl10.write_unlabeled, gzip.compress(STL, mtime=0)),
    (caltech101.write_unlabeled, CALTECH),
    (caltech101.write_unlabeled, zipped(gzip.compress(CALTECH, mtime=0))),
]


@settings(bounded, max_examples=150)
@given(st.sampled_from(range(len(ARCHIVES))), MUTATIONS, st.one_of(st.just(0), st.integers(1, 60_000)))
def test_any_archive_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, number: int, changes: list[tuple[int, int]], length: int
) -> None:
    """Tar, gzip, zip and pickles in them: nothing lies outside of the folder afterwards."""
    write, whole = ARCHIVES[number]
    place = tmp_path_factory.mktemp("archive")
    (place / "out").mkdir()
    (place / "set").write_bytes(mutated(whole, changes, length))
    ends_well(lambda: write(place / "set", place / "out"))
    assert {path.name for path in place.rglob("*")} <= {"set", "out", "images.npy"}


@pytest.mark.parametrize("number", range(len(ARCHIVES)))
def test_the_archives_that_are_mutated_are_whole(tmp_path: Path, number: int) -> None:
    """Else their mutations would be refused for another reason."""
    write, whole = ARCHIVES[number]
    (tmp_path / "set").write_bytes(whole)
    write(tmp_path / "set", tmp_path)
    assert (tmp_path / "images.npy").stat().st_size > 128


def test_a_gzip_bomb_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    """64 MB of zeros in 64 kB: as a picture of the set, and as a file that does not belong to it."""
    zeros = bytes(64 << 20)
    (tmp_path / "out").mkdir()
    for members in ({"101_ObjectCategories/a/1.jpg": zeros}, {"other": zeros}):
        (tmp_path / "set").write_bytes(gzip.compress(tar(members), 1))
        assert not ends_well(lambda: caltech101.write_unlabeled(tmp_path / "set", tmp_path / "out"))
        assert not list((tmp_path / "out").iterdir())


def test_the_fuzz_sees_faults_and_sound_files() -> None:
    """Of 100 mutations of a picture some are refused and some are not: the fuzz is neither too weak nor too strong."""
    from exemplar.datasets.images import decode

    generator = random.Random(0)
    whole = PICTURES[0]
    results = []
    for _ in range(100):
        broken = mutated(whole, [(generator.randrange(10**6), generator.randrange(256))], 0)
        results.append(ends_well(lambda broken=broken: decode(io.BytesIO(broken), name="it")))
    assert 3 < sum(results) < 97
