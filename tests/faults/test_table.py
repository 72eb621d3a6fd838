"""docs/faults.md: every kind of bad input that was tried, with the line that is printed for it.

`WRITE_FAULTS=1 pytest tests/faults/test_table.py` writes the table anew.
"""

import gzip
import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exemplar.errors import UserError, one_line
from exemplar.params.load import load_params, load_yaml
from exemplar.params.names import METHOD, names_in

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
PUBLISHED = load_yaml(ROOT / "params.yaml")
EMBEDDED = PUBLISHED | {name: {"photos": PUBLISHED[name]["photos"]} for name in ("sources", "probe")}
EMBEDDED["finetune"] = PUBLISHED["finetune"] | {"methods": ["exemplar"]}
GONE = object()
METHODS = names_in("methods", having=METHOD)
LISTS = [", ".join(METHODS), ", ".join(name for name in METHODS if name != "pixels")]
# A stage that is started by hand with a dataset and a method.
NAMES: dict[str, list[str]] = {
    "a method that no encoder is made of": ["train", "nosuch"],
    "a method that is not probed": ["probe", "photos", "nosuch"],
    "a dataset that is not probed": ["probe", "nosuch", "exemplar"],
    "a method that is not fine-tuned": ["finetune", "photos", "pixels"],
    "a method whose invariance is not measured": ["invariance", "photos", "pixels"],
}
Stage = Callable[[str], None]
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")

# A key of params.yaml and its wrong value.
SETTINGS: dict[str, tuple[str, object]] = {
    "a layer of another kind": ("model", "64x5"),
    "a hyphen at the end": ("model", "64c5-"),
    "two hyphens": ("model", "64c5--8f"),
    "no filters": ("model", "0c5-8f"),
    "filters of an even side": ("model", "64c4-8f"),
    "no fully connected layer": ("model", "64c5-128c5"),
    "no convolution": ("model", "512f"),
    "a convolution behind a fully connected layer": ("model", "8f-64c5-8f"),
    "a layer of 99,999 filters": ("model", "99999c5-8f"),
    "more weights than a machine trains": ("model", "65536c99-65536c99-8f"),
    "a model that is no text": ("model", 64),
    "an unknown dataset": ("datasets", ["fotos"]),
    "an unknown unlabeled set": ("unlabeled", "imagenet"),
    "a dataset that is a path": ("unlabeled", "../datasets/photos"),
    "an unknown method": ("methods", ["exemplar", "simclr"]),
    "a row that is no encoder": ("methods", ["finetune"]),
    "raw pixels to fine-tune": ("finetune.methods", ["pixels"]),
    "a fine-tuned encoder that is not made": ("methods", ["random"]),
    "an invariance of an encoder that is not made": ("methods", ["exemplar"]),
    "encoders that two lists name and that are not made": ("methods", ["rotation"]),
    "a method named twice": ("methods", ["random", "random"]),
    "one name where a list belongs": ("datasets", "photos"),
    "an empty list": ("methods", []),
    "a misspelt key": ("train.epoch", 3),
    "a key that was cut short": ("transformation.shift", [0, 0.1]),
    "a key that nothing resembles": ("seeds.colour", 7),
    "a missing key": ("train.epochs", GONE),
    "a missing section": ("probe.photos", GONE),
    "a count of 0": ("seeds.count", 0),
    "a count beyond any machine": ("surrogate.samples", 10**9),
    "a batch beyond any memory": ("train.batch_size", 10**20),
    "a side beyond any memory": ("probe.photos.side", 80_000),
    "a factor beyond all sense": ("transformation.value_factor", [1, 1e300]),
    "a count that is a text": ("seeds.count", "many"),
    "a count that is half": ("train.epochs", 1.5),
    "a count that is true": ("train.batch_size", True),
    "a number that is none": ("train.learning_rate", float("nan")),
    "a number that is infinite": ("train.weight_decay", float("inf")),
    "a momentum of 1": ("train.momentum", 1),
    "a negative random seed": ("random_seed", -1),
    "a random seed beyond 31 bits": ("random_seed", 2**31),
    "a range upside down": ("transformation.angle_degrees", [20.0, -20.0]),
    "a range of one number": ("transformation.shift_fraction", [0.1]),
    "a range of three numbers": ("transformation.scale_factor", [0.5, 1, 2]),
    "a scale of 0": ("transformation.scale_factor", [0, 1]),
    "an angle beyond a half turn": ("transformation.angle_degrees", [-181, 0]),
    "an unknown family": ("transformation.family", "Paper"),
    "a section that is a number": ("compute", 5),
    "an unknown device": ("compute.device", "tpu"),
    "a precision that is left open": ("compute.precision", "auto"),
    "an unknown recipe": ("train.recipe", "quick"),
    "no classes that stand for the others": ("train.negatives", 0),
    "a batch of one to normalise over": ("train.batch_size", 1),
    "magnitudes without the neutral one": ("invariance.magnitudes.angle_degrees", [10, 20]),
    "weights that do not fit the cells": ("probe.photos.cell_weights", [1.0, 2.0]),
    "a source that is a relative path": ("sources.photos.url", "../pictures"),
    "an option of a wrong type": ("sources.photos.options", {"gamma_spread": "a", "gain_spread": 0.4}),
    "an option that is unknown": ("sources.photos.options", {"gamma_spread": 0.5, "gain": 0.4}),
    "an option that is missing": ("sources.photos.options", {"gamma_spread": 0.5}),
}
# A file of the repository, how it is broken, and a stage that reads it.
FILES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "an array cut in half": ("data/unlabeled/images.npy", lambda content: content[: len(content) // 2], "seeds"),
    "an array of no bytes": ("data/surrogate/label.npy", lambda _: b"", "train"),
    "draws of fewer samples than one": (
        "data/surrogate/draws.json",
        lambda content: content.replace(b'"samples": 20', b'"samples": 0'),
        "train",
    ),
    "an array with bytes too many": ("data/labeled/photos/labels.npy", lambda content: content + b"x", "probe"),
    "a broken header": ("data/labeled/photos/train.npy", lambda content: b"?" + content[1:], "probe"),
    "numbers of another type": (
        "data/labeled/photos/test.npy",
        lambda content: content.replace(b"<i8", b"<f8"),
        "probe",
    ),
    "classes that are no list": ("data/labeled/photos/classes.json", lambda _: b'{"a": 1}', "probe"),
    "seeds with a flipped byte": (
        "data/seeds.npz",
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        "surrogate",
    ),
    "an encoder cut in half": ("data/encoders/exemplar.safetensors", lambda content: content[:3000], "probe"),
    "an encoder of another model": (
        "data/encoders/exemplar.safetensors",
        lambda content: content.replace(b"4c5-4c5-8f", b"4c5-4c5-9f"),
        "invariance",
    ),
    "a learning curve without its last number": (
        "results/training/exemplar/curve.csv",
        lambda content: content[:-5],
        "compare",
    ),
    "an example without a picture": (
        "results/training/exemplar/examples.json",
        lambda content: content.replace(b'"iVBOR', b'"'),
        "compare",
    ),
    "an evaluation with another accuracy": (
        "results/evaluations/probe/photos-exemplar.json",
        lambda content: content.replace(b"0.75", b"0.95"),
        "compare",
    ),
    "an evaluation of another row": (
        "results/evaluations/probe/photos-exemplar.json",
        lambda content: content.replace(b'"method": "exemplar"', b'"method": "=HYPERLINK(1)"'),
        "compare",
    ),
    "an evaluation of no network": (
        "results/evaluations/probe/photos-exemplar.json",
        lambda content: content.replace(b'"model": "4c5-4c5-8f"', b'"model": "../../x"'),
        "compare",
    ),
    "an evaluation without a key": (
        "results/evaluations/probe/photos-exemplar.json",
        lambda content: content.replace(b'"labels_for_choice": 0,', b""),
        "compare",
    ),
    "an invariance of another transformation": (
        "results/invariance/photos-exemplar.csv",
        lambda content: content.replace(b"angle_degrees", b"angle"),
        "compare",
    ),
    "a lock file that is broken": ("dvc.lock", lambda _: b"stages: [", "seeds"),
    "a bit flipped in an array": (
        "data/labeled/photos/images.npy",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        "probe",
    ),
}


def tar(name: str, content: bytes = b"", **attributes: object) -> bytes:
    """An archive of one member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def picture(side: int = 24) -> bytes:
    """A whole PNG."""
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "PNG")
    return file.getvalue()


def floating() -> bytes:
    """A whole TIFF whose values are between 0 and 1."""
    file = io.BytesIO()
    Image.new("F", (8, 8), 0.5).save(file, "TIFF")
    return file.getvalue()


def header(name: str, size: int) -> bytes:
    """The beginning of an archive whose member claims a size."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


# The dataset whose archive it is taken for, and its bytes.
ARCHIVES: dict[str, tuple[str, bytes]] = {
    "an archive that is a web page": ("stl10", b"<!doctype html><title>404</title>" * 40),
    "an archive of no bytes": ("stl10", b""),
    "an archive of another packing": ("stl10", b"7z\xbc\xaf\x27\x1c" + bytes(600)),
    "an archive that Git LFS did not fetch": ("cifar10", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "a gzip cut in half": ("caltech101", gzip.compress(tar("101_ObjectCategories/a/1.jpg", picture()), mtime=0)[:90]),
    "an archive of another set": ("cifar10", tar("stl10_binary/unlabeled_X.bin", bytes(3 * 96 * 96))),
    "a member that climbs out": ("stl10", tar("../unlabeled_X.bin", bytes(3 * 96 * 96))),
    "a member with an absolute path": ("stl10", tar("/etc/passwd")),
    "a member that is a link": ("cifar10", tar("data_batch_1", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a member of a wrong size": ("stl10", tar("unlabeled_X.bin", bytes(1000))),
    "a member of a terabyte": ("cifar10", header("data_batch_1", 1 << 40)),
    "a pickle that calls a program": ("cifar10", tar("test_batch", b"cos\nsystem\n(S'touch owned'\ntR.")),
    "a pickle cut short": ("cifar10", tar("test_batch", b"\x80\x02}q\x00(")),
    "a text in an archive, called a picture": ("caltech101", tar("101_ObjectCategories/a/1.jpg", b"no picture")),
}
# The files of a folder of pictures.
FOLDERS: dict[str, dict[str, bytes]] = {
    "a folder without pictures": {"a/readme.txt": b"x"},
    "a picture that is a text": {"a/1.jpg": b"hello"},
    "a picture cut in half": {"a/1.png": picture(200)[:60]},
    "a picture of another format": {"a/1.jpg": b"\0\0\0\x18ftypheic" + bytes(60)},
    "a picture of no bytes": {"a/1.jpg": b""},
    "a picture of floating-point values": {"a/1.tif": floating()},
    "a picture of too many pixels": {"a/1.png": picture(8200)},
    "an empty class folder": {"a/1.png": picture(), "a/2.png": picture(), "b/.hidden": b""},
    "a class of a format that is not read": {"a/1.png": picture(), "a/2.png": picture(), "b/1.HEIC": b"x"},
    "parts of a split in place of classes": {"train/a/1.png": picture(), "val/a/1.png": picture()},
    "one folder too many above the classes": {"all/a/1.png": picture(), "all/b/1.png": picture()},
    "a picture that lies in no class": {"1.png": picture(), "a/1.png": picture()},
    "a class with too few pictures": {"a/1.png": picture(), "a/2.png": picture(), "b/1.png": picture()},
}
# The dataset that finds its options of no use, and these options.
OPTIONS: dict[str, tuple[str, dict[str, float]]] = {
    "a light in which no picture is left": ("photos", {"gamma_spread": 0.5, "gain_spread": 5.0}),
    "a light of a negative spread": ("photos", {"gamma_spread": -0.5, "gain_spread": 0.4}),
    "images made smaller than they are": ("cifar10", {"unlabeled_side": 8}),
}
# A method, and what its section under `tasks` says otherwise than the published one.
TASKS: dict[str, tuple[str, dict[str, object]]] = {
    "more permutations than there are": ("jigsaw", {"permutations_2x2": 24}),
    "clusters of no seed": ("clustered", {"cluster_size": 0}),
    "a task that is made of itself": ("multi_task", {"parts": {"multi_task": {}}}),
    "a task that is made of nothing": ("multi_task", {"parts": {}}),
    "a task with two encoders as a part": (
        "multi_task",
        {"parts": {"split_brain": {"bin_width": 10.0, "light_bin_width": 2.0}}},
    ),
    "a mistake in a part of a task": ("multi_task", {"parts": {"rotation": {"large_share": 2.0}}}),
}
# What `sources.<name>` says: url and md5.
SOURCES: dict[str, tuple[str, str | None]] = {
    "no digest": ("file:///tmp/x", None),
    "a digest of capital letters": ("file:///tmp/x", "ABCDEF" * 5 + "AB"),
    "a file that is not there": ("/absent/archive.tar", "0" * 32),
    "a kind of address that is not fetched": ("ftp://alice:hunter2@localhost/x", "0" * 32),
    "a file with another digest": ("other.tar", "1" * 32),
    "pictures that are named for the first time": ("whole", "0" * 32),
    "pictures of which none can be read": ("broken", "0" * 32),
}


def with_setting(key: str, value: object) -> None:
    """Read params.yaml with one value changed."""
    content: Any = deepcopy(EMBEDDED)
    *sections, name = key.split(".")
    section = content
    for part in sections:
        section = section[part]
    section.pop(name) if value is GONE else section.update({name: value})
    Path("params.yaml").write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"))
    load_params()


def from_archive(dataset: str, content: bytes) -> None:
    """Turn an archive into arrays, with the published options."""
    Path("set").write_bytes(content)
    from_options(dataset, PUBLISHED["sources"][dataset]["options"])


def from_options(dataset: str, options: dict[str, float]) -> None:
    """Write a dataset's unlabeled images as its options say."""
    from importlib import import_module

    Path("out").mkdir()
    import_module(f"exemplar.datasets.{dataset}").write_unlabeled(Path("set"), Path("out"), **options)


def from_task(method: str, changes: dict[str, object]) -> None:
    """Check a method's section."""
    from exemplar.params.options import load_options

    load_options(method, PUBLISHED["tasks"][method] | changes)


def from_folder(files: dict[str, bytes]) -> None:
    """Turn a folder of pictures into a labeled set, one picture a class to train on."""
    from exemplar.datasets import folder

    for name, content in files.items():
        Path("tree", name).parent.mkdir(parents=True, exist_ok=True)
        Path("tree", name).write_bytes(content)
    Path("out").mkdir()
    options = {"side": 8, "train_per_class": 1, "folds": 1, "skip_broken": False}
    folder.write_unlabeled(Path("tree"), Path("out"), **options)
    folder.write_labeled(Path("tree"), Path("out"), **options)


def from_source(url: str, md5: str | None) -> None:
    """Fetch, as the download stage does for pictures of one's own."""
    from exemplar.datasets import folder
    from exemplar.datasets.fetching.fetch import fetch

    Path("other.tar").write_bytes(b"other")
    for name, content in (("whole", picture()), ("broken", b"hello")):
        Path(name).mkdir()
        Path(name, "1.png").write_bytes(content)
    section, require_usable = "sources.folder", folder.require_usable
    fetch([url], md5=md5, folder=Path("downloads"), section=section, require_usable=require_usable)


def from_file(file: str, change: Callable[[bytes], bytes], stage: str, run: Stage) -> None:
    """Break a file and start a stage; only the last kind of fault needs DVC's digest to be seen."""
    path = Path(file)
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    assert path.read_bytes() != whole
    run(stage)


def from_features(change: Callable[[np.ndarray], None]) -> None:
    """Give features to the probe."""
    from exemplar.probe.features import Features, require_sound

    values = np.random.default_rng(0).random((100, 8)).astype(np.float32)
    change(values)
    require_sound(Features(values, (slice(0, 8),)))


def from_names(stage: str, *names: str) -> None:
    """Start a stage as the shell does."""
    from importlib import import_module

    module = import_module(f"stages.{stage}")
    getattr(module, "measure" if stage == "invariance" else stage)(*names)


FEATURES: dict[str, Callable[[np.ndarray], None]] = {
    "features that are not finite": lambda values: values.__setitem__((7, 3), np.nan),
    "features of a dead encoder": lambda values: values.fill(0.25),
}
TABLE: dict[str, str] = {
    **{name: f"`{key}` is {'missing' if value is GONE else f'`{value!r}`'}" for name, (key, value) in SETTINGS.items()},
    **{name: f"`{file}`, read by `{stage}`" for name, (file, _, stage) in FILES.items()},
    **{name: f"an archive for `{dataset}`" for name, (dataset, _) in ARCHIVES.items()},
    **{name: f"`{', '.join(files)}`" for name, files in FOLDERS.items()},
    **{name: f"`sources.{dataset}.options` is `{options}`" for name, (dataset, options) in OPTIONS.items()},
    **{name: f"`tasks.{method}` has `{changes}`" for name, (method, changes) in TASKS.items()},
    **{name: f"`url: {url}`" for name, (url, _) in SOURCES.items()},
    **{name: f"`python -m stages.{' '.join(words)}`" for name, words in NAMES.items()},
    **dict.fromkeys(FEATURES, "what the probe gets from the encoder"),
}


# Lines that quote a library, whose words may change: they stand as … in the page.
LIBRARY = {
    "seeds with a flipped byte",
    "an encoder cut in half",
    "an evaluation without a key",
    "a lock file that is broken",
    "a gzip cut in half",
    "a pickle cut short",
    "a picture cut in half",
}


def provoke(name: str, run: Stage) -> None:
    """Do what a row of the table says."""
    if name in SETTINGS:
        with_setting(*SETTINGS[name])
    elif name in FILES:
        from_file(*FILES[name], run)
    elif name in ARCHIVES:
        from_archive(*ARCHIVES[name])
    elif name in FOLDERS:
        from_folder(FOLDERS[name])
    elif name in OPTIONS:
        from_options(*OPTIONS[name])
    elif name in TASKS:
        from_task(*TASKS[name])
    elif name in SOURCES:
        from_source(*SOURCES[name])
    elif name in NAMES:
        from_names(*NAMES[name])
    else:
        from_features(FEATURES[name])


def row(name: str, line: str) -> str:
    """A row of the page, without digests and a library's words."""
    line = re.sub(r"[0-9a-f]{32}", "…", line)
    line = re.sub(r"\(.*\)", "(…)", line) if name in LIBRARY else line
    return f"| {name} | {TABLE[name]} | ``{line}`` |"


@pytest.mark.parametrize("name", TABLE)
def test_the_page_says_what_is_printed(
    name: str, repository: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of bad input ends in the one line that docs/faults.md shows for it."""
    monkeypatch.chdir(repository)
    if name in ("a bit flipped in an array", "a lock file that is broken"):
        monkeypatch.setenv("DVC_STAGE", "probe")
    with pytest.raises(UserError) as refused:
        provoke(name, lambda stage: request.getfixturevalue("run")(stage))
    line = f"error: {one_line(str(refused.value))}".replace(f"{repository}/", "")
    for known in LISTS:  # a new method changes no page
        line = line.replace(f"expected one of {known}", "expected one of …")
    if os.environ.get("WRITE_FAULTS"):
        written = [old for old in PAGE.read_text().splitlines() if not old.startswith(f"| {name} |")]
        PAGE.write_text("\n".join([*written, row(name, line)]) + "\n")
    shown = next((old for old in PAGE.read_text().splitlines() if old.startswith(f"| {name} |")), "")
    assert shown == row(name, line)


def test_the_page_has_all_rows_and_no_others() -> None:
    """At least 50."""
    table = PAGE.read_text().partition("## Kinds of bad input")[2]
    shown = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")]
    assert sorted(shown[1:]) == sorted(TABLE)
    assert len(TABLE) >= 50


def test_no_line_asks_to_remove_what_the_user_gave() -> None:
    """An archive, a picture and a source are the user's own; only what this project made is to be removed."""
    table = PAGE.read_text().partition("## Kinds of bad input")[2]
    lines = dict(line[2:].split(" | ", 1) for line in table.splitlines() if line.startswith("| "))
    for name in (*ARCHIVES, *FOLDERS, *SOURCES):
        assert not re.search(r"\b(remove|delete|rm)\b", lines[name]), name
