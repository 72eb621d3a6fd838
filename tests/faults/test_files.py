"""Truncated and bit-flipped files: for every stage, each file that it reads."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from reached import Reached

from exemplar.errors import UserError
from exemplar.params.load import load_params
from exemplar.surrogate import build

UNLABELED = ["data/unlabeled/images.npy"]
LABELED = [
    f"data/labeled/photos/{name}" for name in ("images.npy", "labels.npy", "train.npy", "test.npy", "classes.json")
]
ARRAYS = ("windows", "window_index", "label", "centre", "side", "basis", "colour_mean", "mean")
SURROGATE = ["data/surrogate/draws.json", *(f"data/surrogate/{name}.npy" for name in ARRAYS)]
ENCODERS = [f"data/encoders/{name}.safetensors" for name in ("exemplar", "pixels")]
TRAINING = [
    f"results/training/{name}/{file}" for name in ("exemplar", "pixels") for file in ("curve.csv", "examples.json")
]
MEASURED = [f"results/evaluations/probe/photos-{name}.json" for name in ("exemplar", "pixels")]
MEASURED += ["results/invariance/photos-exemplar.csv"]
READS = {
    "seeds": UNLABELED,
    "surrogate": [*UNLABELED, "data/seeds.npz"],
    "train": SURROGATE,
    "probe": [ENCODERS[0], *LABELED],
    "invariance": [ENCODERS[0], *LABELED],
    # the mean is the encoders' business
    "compare": [*SURROGATE[:-1], *LABELED, *ENCODERS, *TRAINING, *MEASURED],
}
FLIPS = 6
# of the tuples that stand for YAML's lists, see `run`
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
Run = Callable[[str], None]


def contents(repository: Path, stage: str) -> list[tuple[Path, bytes]]:
    """The files that a stage reads, whole."""
    return [(repository / file, (repository / file).read_bytes()) for file in READS[stage]]


def cuts(content: bytes) -> Iterator[bytes]:
    """Nothing, half of it, all but the last byte, one byte too many."""
    yield from (b"", content[: len(content) // 2], content[:-1], content + b"x")


def flips(content: bytes, *, seed: str, count: int = FLIPS) -> Iterator[bytes]:
    """One bit changed at seeded places, half of them in the first 128 bytes, where headers are."""
    generator = random.Random(seed)
    for turn in range(count):
        broken = bytearray(content)
        broken[generator.randrange(min(128, len(content)) if turn % 2 else len(content))] ^= 1 << generator.randrange(8)
        yield bytes(broken)


def told(run: Run, stage: str) -> str:
    """The line that a stage says, empty where it came to its work; any other end fails the test."""
    try:
        run(stage)
    except UserError as error:
        return str(error)
    except Reached:
        return ""
    raise AssertionError(f"{stage} ended before its work")


@pytest.mark.parametrize("stage", READS)
def test_a_whole_repository_is_used(run: Run, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """By hand and under DVC: what follows would say nothing if every file were refused."""
    assert told(run, stage) == ""
    monkeypatch.setenv("DVC_STAGE", stage)
    assert told(run, stage) == ""


@pytest.mark.parametrize("stage", READS)
def test_under_dvc_every_changed_byte_is_told(
    run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Cut, lengthened or one bit flipped anywhere: one line that names the output, and nothing is computed."""
    monkeypatch.setenv("DVC_STAGE", stage)
    for file, whole in contents(repository, stage):
        for broken in (*cuts(whole), *flips(whole, seed=file.name)):
            file.write_bytes(broken)
            line = told(run, stage)
            assert "has changed since DVC recorded it" in line
            assert repository / line.split()[0] in (file, file.parent)
        file.write_bytes(whole)


@pytest.mark.parametrize("stage", READS)
def test_by_hand_every_cut_is_told(run: Run, repository: Path, stage: str) -> None:
    """Without dvc.lock each reader sees by itself that bytes are missing or too many, and names the file."""
    for file, whole in contents(repository, stage):
        for broken in cuts(whole):
            # the same text but for the end of its last line; a zip, whose directory is found before a byte too many
            if broken.strip(b"\n") == whole.strip(b"\n") or (file.suffix == ".npz" and len(broken) > len(whole)):
                continue
            file.write_bytes(broken)
            line = told(run, stage)
            assert file.name in line, broken[-20:]
            assert "\n" not in line
        file.write_bytes(whole)


@pytest.mark.parametrize("stage", READS)
def test_by_hand_a_flipped_bit_is_told_or_leaves_a_sound_file(run: Run, repository: Path, stage: str) -> None:
    """Never another error: what is not told has kind, shape, ranges and agreement of a whole file."""
    for file, whole in contents(repository, stage):
        for broken in flips(whole, seed=f"by hand {file.name}"):
            file.write_bytes(broken)
            assert "\n" not in told(run, stage)
        file.write_bytes(whole)


@pytest.mark.parametrize("stage", READS)
def test_a_missing_file_is_told(run: Run, repository: Path, stage: str) -> None:
    """By the stage that reads it."""
    for file, whole in contents(repository, stage):
        file.unlink()
        assert file.name in told(run, stage)
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("labels", lambda numbers: numbers + 1, "labels.npy holds 1 to 3; there are 3 classes"),
        ("labels", lambda numbers: numbers.astype(np.int32), "it holds int32 [30]; expected int64 [30]"),
        ("labels", lambda numbers: numbers[:-1], "it holds int64 [29]; expected int64 [30]"),
        ("train", lambda numbers: numbers - 1, "fold 1 names image -1 of 30"),
        ("train", lambda numbers: numbers[:, :1] + 0 * numbers, "fold 1 names an image twice"),
        ("train", lambda numbers: numbers[:2], "it holds int64 [3, 12]; expected int64 [2 n]"),
        ("test", lambda numbers: numbers - 18, "fold 1 names an image twice, perhaps to train on and to test on"),
        ("test", lambda numbers: numbers + 1, "fold 1 names image 30 of 30"),
        ("images", lambda numbers: numbers[:, :1], "it holds uint8 [30, 1, 40, 40]; expected uint8 [n 3 h w]"),
        ("images", lambda numbers: numbers[:0], "it holds uint8 [0, 3, 40, 40]; expected uint8 [n 3 h w]"),
        ("images", lambda numbers: numbers.astype(object), "it holds object [30, 3, 40, 40]; expected uint8"),
    ],
)
def test_arrays_that_contradict_each_other_are_told(
    run: Run, repository: Path, file: str, change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    """A whole file of another set is as wrong as a broken one."""
    path = repository / f"data/labeled/photos/{file}.npy"
    np.save(path, change(np.load(path)))
    assert said in told(run, "probe")


def test_seeds_of_another_set_are_told(run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They name images that are not there."""
    from exemplar.datasets.base import load_images
    from exemplar.surrogate.seeds import Seeds

    monkeypatch.undo()
    images, seeds = load_images(repository / "data/unlabeled"), Seeds.load(repository / "data/seeds.npz")
    from exemplar.surrogate.ranges import RELEASE

    with pytest.raises(UserError, match="a seed is cut from image 2, but there are 2; run the seeds stage again"):
        build.build(images[:2], seeds, samples=1, ranges=RELEASE, random_seed=0)


@pytest.mark.parametrize("seed", range(3))
def test_params_and_dvc_lock_are_read_or_told(
    repository: Path, run: Run, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever happened to them: numbers that make sense, or one line."""
    monkeypatch.setenv("DVC_STAGE", "seeds")
    lock = (repository / "dvc.lock").read_bytes()
    for broken in (*cuts(lock), *flips(lock, seed=str(seed), count=20)):
        (repository / "dvc.lock").write_bytes(broken)
        told(run, "seeds")
    monkeypatch.undo()
    whole = (repository / "params.yaml").read_bytes()
    for broken in (*cuts(whole), *flips(whole, seed=str(seed), count=8)):
        (repository / "params.yaml").write_bytes(broken)
        with suppress(UserError):
            load_params(repository / "params.yaml")
