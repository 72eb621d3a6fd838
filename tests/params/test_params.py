"""params.yaml is read strictly: whatever is wrong in it is told in one line, before anything runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from exemplar.errors import UserError
from exemplar.params import names
from exemplar.params.load import load_params, load_yaml
from exemplar.params.options import load_options
from exemplar.surrogate.ranges import PAPER, RELEASE, Ranges

ROOT = Path(__file__).parents[2]
PUBLISHED = load_yaml(ROOT / "params.yaml")
# The same without the datasets that need a download; 30 times a second is as often as YAML can be read.
EMBEDDED = PUBLISHED | {name: {"photos": PUBLISHED[name]["photos"]} for name in ("sources", "probe")}
GONE = object()
Change = Callable[..., Path]


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """Write a copy of the published params.yaml in which one value, named as `dvc exp run -S` names it, is another."""

    def write(key: str, value: object) -> Path:
        content: Any = deepcopy(EMBEDDED)
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        section.pop(name) if value is GONE else section.update({name: value})
        path = tmp_path / "params.yaml"
        # JSON is YAML, but for its names of what is not finite.
        path.write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"))
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        load_params(path)
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_the_published_file_is_read_as_it_stands():
    """What is read is what is written, number by number: only nulls of a family are filled in, and nothing is lost."""
    read = load_params(ROOT / "params.yaml").model_dump(mode="json")
    family = TypeAdapter(Ranges).dump_python(RELEASE, mode="json")
    assert read == PUBLISHED | {"transformation": {"family": "release", **family}}


def test_the_published_file_describes_every_dataset():
    """So that another one is named on the command line, and nothing has to be looked up."""
    assert sorted(PUBLISHED["sources"]) == names.names_in("datasets", having=r"^def write_(un)?labeled\(")
    assert sorted(PUBLISHED["probe"]) == names.names_in("datasets", having=r"^def write_labeled\(")


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path):
    """`1e-4` is a number, as in YAML 1.2, and not the string that YAML 1.1 makes of it."""
    path = tmp_path / "params.yaml"
    path.write_text("weight_decay: 1e-4\n")
    assert load_yaml(path) == {"weight_decay": 1e-4}


def paths(section: dict[str, Any], before: str = "") -> list[str]:
    """The name of every section and every value of params.yaml."""
    names = []
    for key, value in section.items():
        names.append(f"{before}{key}")
        if isinstance(value, dict):
            names += paths(value, f"{before}{key}.")
    return names


# What stands in a section of multi_task are its parts, of which any may be left out.
KEYS = [key for key in paths(EMBEDDED) if not key.startswith("tasks.multi_task.parts.")]
SECTIONS = [
    "",
    *(f"{key}." for key in KEYS if isinstance(PUBLISHED.get(key), dict) and key not in ("sources", "probe", "tasks")),
]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_needed(change: Change, key: str):
    """A missing key stops the run with its name: there is no default that DVC could not see."""
    assert key in refusal(change(key, GONE))


@pytest.mark.parametrize(
    "section",
    [*SECTIONS, "sources.photos.", "probe.photos.", "tasks.rotation.", "tasks.random.", "invariance.magnitudes."],
)
def test_an_unknown_key_is_refused_wherever_it_stands(change: Change, section: str):
    """A misspelt key is told with its value and does not count as absent."""
    assert f"{section}colour is no known key (its value is 7)" in refusal(change(f"{section}colour", 7))


def test_a_task_that_is_no_method_is_refused(change: Change):
    """With the names that there are."""
    assert "tasks.rotatoin" in (said := refusal(change("tasks.rotatoin", {})))
    assert "perhaps rotation?" in said


def test_a_value_of_a_task_is_checked_by_its_file(change: Change):
    """Before anything runs, where the task is among `methods`: the check stage loads the file."""
    with pytest.raises(UserError, match=r"tasks.rotation.large_share 2.0: expected a number of at most 1"):
        load_options("rotation", load_params(change("tasks.rotation.large_share", 2.0)).tasks["rotation"])


COUNTS = ["seeds.count", "surrogate.samples", "train.epochs", "train.batch_size", "finetune.crops_per_image",
          "finetune.batch_size", "probe.photos.C_draws"]  # fmt: skip
RANGES = [f"transformation.{key}" for key, value in asdict(RELEASE).items()
          if isinstance(value, tuple) and len(value) == 2]  # fmt: skip


@pytest.mark.parametrize("key", COUNTS)
def test_a_count_of_0_is_refused(change: Change, key: str):
    """The line names the key, quotes the value and says what was expected."""
    assert f"{key} 0: expected a number of at least 1" in refusal(change(key, 0))


@pytest.mark.parametrize("key", COUNTS)
def test_a_count_that_no_machine_could_meet_is_refused(change: Change, key: str):
    """At once, and not after hours of a sweep."""
    assert f"{key} {10**12}: expected a number of at most " in refusal(change(key, 10**12))


@pytest.mark.parametrize("value", [-1, 1.5, "5", True, None, [5]])
def test_a_count_is_a_whole_number(change: Change, value: object):
    """Nothing is turned into a number that is none."""
    assert f"seeds.count {value!r}: " in refusal(change("seeds.count", value))


@pytest.mark.parametrize("key", [*RANGES, "finetune.augmentation.value_power", "probe.photos.C_range"])
def test_a_range_upside_down_is_refused_with_a_proposal(change: Change, key: str):
    """The bounds of [low, high] may not be exchanged."""
    said = f"{key} [0.9, 0.5]: is upside down; expected [low, high], so perhaps [0.5, 0.9]"
    assert said in refusal(change(key, [0.9, 0.5]))


def test_a_family_is_chosen_by_its_name(change: Change):
    """`-S transformation.family=paper` is all it takes; the numbers come with the name."""
    chosen = load_params(change("transformation.family", "paper")).transformation
    assert asdict(chosen) == asdict(PAPER) | {"family": "paper"}


@pytest.mark.parametrize("key", RANGES)
def test_a_range_replaces_that_of_its_family_and_no_other(change: Change, key: str):
    """What is not null stands for itself."""
    name = key.removeprefix("transformation.")
    chosen = load_params(change(key, [1, 1])).transformation
    assert asdict(chosen) == asdict(RELEASE) | {"family": "release", name: (1, 1)}


@pytest.mark.parametrize("value", ["text", "Paper", "", None, 5, ["paper"]])
def test_an_unknown_family_is_refused(change: Change, value: object):
    """The line says which there are, and nothing else is blamed."""
    said = f"transformation.family {value!r}: expected 'release' or 'paper'"
    assert said in refusal(change("transformation.family", value))


def test_equal_bounds_are_a_range(change: Change):
    """At the neutral value they switch a transformation off."""
    assert load_params(change("transformation.angle_degrees", [0, 0])).transformation.angle_degrees == (0, 0)


@pytest.mark.parametrize(
    "value",
    [[0.5], [0.5, 0.6, 0.7], [], 0.5, "0.5", ["0.5", "0.6"], [0.5, None], [float("nan"), 0.5], [0.5, float("inf")],
     [True, 2], {"low": 0, "high": 1}, [-999.0, 0.5]],
)  # fmt: skip
@pytest.mark.parametrize("key", ["transformation.shift_fraction", "transformation.scale_factor"])
def test_a_range_is_two_finite_numbers_that_make_sense(change: Change, key: str, value: object):
    """The line names the range."""
    assert f"params.yaml: {key}" in refusal(change(key, value))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model", "64x5", "params.yaml: model '64x5': '64x5' is no layer; expected convolutions"),
        ("model", 64, "model 64: expected a text"),
        ("random_seed", -1, "random_seed -1: "),
        ("random_seed", 2**31, "random_seed 2147483648: "),
        ("random_seed", 0.5, "random_seed 0.5: "),
        ("unlabeled", "imagenet", "unlabeled 'imagenet': is unknown; expected one of caltech101, "),
        ("unlabeled", "base", "unlabeled 'base': is unknown"),
        ("unlabeled", "../datasets/photos", "unlabeled '../datasets/photos': is unknown"),
        ("datasets", ["imagenet"], "datasets[0] 'imagenet': is unknown; expected one of caltech101, "),
        ("datasets", [], "datasets []: "),
        ("datasets", "photos", "datasets 'photos': "),
        ("datasets", ["photos", "photos"], "datasets ['photos', 'photos']: names something twice"),
        ("probe.photos", GONE, "there is no section probe.photos, but datasets names photos"),
        ("sources.photos", GONE, "there is no section sources.photos, but photos is used"),
        ("methods", ["exemplar", "simclr"], "methods[1] 'simclr': is unknown; expected one of "),
        ("methods", ["finetune"], "methods[0] 'finetune': is no encoder: a row is an encoder and a readout, and finet"),
        ("methods", ["supervised"], "finetune.methods says which encoders are fine-tuned (random there is the supervi"),
        ("methods", ["random"], "finetune.methods and invariance.methods name exemplar, of which no encoder is made; "),
        ("sources.photos.url", "../pics", "sources.photos.url '../pics': is a relative path, which --temp and --queue"),
        ("sources.photos.mirrors", ["/a", "b.tar"], "sources.photos.mirrors[1] 'b.tar': is a relative path, which --t"),
        ("finetune.methods", ["pixels"], "finetune.methods[0] 'pixels': has no weights to fine-tune; expected one of "),
        ("finetune.methods", ["simclr"], "finetune.methods[0] 'simclr': is unknown; expected one of "),
        ("finetune.methods", ["random", "random"], "finetune.methods ['random', 'random']: names something twice"),
        ("methods", ["base"], "methods[0] 'base': is unknown"),
        ("seeds.scales", [], "seeds.scales []: "),
        ("seeds.scales", [1.0, 0.0], "seeds.scales[1] 0.0: "),
        ("seeds.scales", [1.5], "seeds.scales[0] 1.5: "),
        ("transformation.shift_fraction", [1], "transformation.shift_fraction [1]: too short"),
        ("transformation.scale_factor", [0, 1], "transformation.scale_factor [0, 1]: expected two numbers above 0"),
        ("transformation.angle_degrees", [-181, 0], "[-181, 0]: expected numbers between -180.0 and 180.0"),
        ("transformation.pca_distribution", "cauchy", "transformation.pca_distribution 'cauchy': "),
        ("transformation.pca_log2_spread", [1, 1], "transformation.pca_log2_spread [1, 1]: too short"),
        ("transformation.pca_log2_spread", [1, 1, -1], "transformation.pca_log2_spread[2] -1: "),
        ("transformation.stretch_fraction", 1.1, "transformation.stretch_fraction 1.1: "),
        ("transformation.stretch_fraction", "0.1", "transformation.stretch_fraction '0.1': "),
        ("transformation", None, "transformation None: "),
        ("train.learning_rate", 0, "train.learning_rate 0: "),
        ("train.learning_rate", float("nan"), "train.learning_rate nan: "),
        ("train.momentum", 1, "train.momentum 1: "),
        ("train.weight_decay", -0.1, "train.weight_decay -0.1: "),
        ("train.negatives", 0, "train.negatives 0: expected a number of at least 1"),
        ("train.negatives", 0.5, "train.negatives 0.5: expected a whole number"),
        ("probe.photos.side", 31, "probe.photos.side 31: "),
        ("probe.photos.percentile", 101, "probe.photos.percentile 101: "),
        ("probe.photos.cell_weights", [1.0, 2.0], "probe.photos: has 1 cells but 2 cell_weights; expected one each"),
        ("probe.photos.validation", "test", "probe.photos.validation 'test': "),
        ("invariance.methods", [], "invariance.methods []: "),
        ("invariance.methods", ["supervised"], "invariance.methods[0] 'supervised': is no encoder: a row is an enc"),
        ("invariance.methods", ["random", "random"], "invariance.methods ['random', 'random']: names something twice"),
        ("invariance.num_images", 1, "invariance.num_images 1: expected a number of at least 2"),
        ("invariance.magnitudes", None, "invariance.magnitudes None: "),
        ("invariance.magnitudes.angle_degrees", [10, 20], "angle_degrees [10, 20]: lacks 0.0, which changes nothing"),
        ("invariance.magnitudes.angle_degrees", [], "angle_degrees []: lacks 0.0"),
        ("invariance.magnitudes.angle_degrees", [0, 0], "angle_degrees [0, 0]: expected every number above the one be"),
        ("invariance.magnitudes.angle_degrees", ["0"], "angle_degrees[0] '0': "),
        ("invariance.magnitudes.contrast_factor", [0, 1], "factor [0, 1]: expected numbers between 0.01 and 100.0"),
        ("invariance.magnitudes.scale_factor", [1, float("nan")], "invariance.magnitudes.scale_factor[1] nan: "),
        ("compute.device", "tpu", "compute.device 'tpu': expected 'auto', 'cpu' or 'cuda'"),
        ("compute.precision", "float8", "compute.precision 'float8': "),
        ("sources.photos.options", {"side": "a"}, "sources.photos.options.side"),
        ("sources.imagenet", {}, "'imagenet': is unknown"),
        ("seeds", 5, "seeds 5: "),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_quoted_where_it_stands(change: Change, key: str, value: object, said: str):
    """Every refusal begins with the file and goes on with the key, the value and what was expected."""
    refused = refusal(change(key, value))
    assert said in refused
    assert "params.yaml: " in refused


@pytest.mark.parametrize("source", ["/data/pics", "~/pics", "file:///data/x.tar", "s3://bucket/set", "http://host/x"])
def test_a_source_is_a_url_or_an_absolute_path(change: Change, source: str):
    """It leads to the same place in the folder in which a queued experiment runs."""
    assert load_params(change("sources.photos.url", source)).sources["photos"].url == source


def test_all_lists_that_lack_an_encoder_are_told_at_once(change: Change):
    """With what to type for each, which is a list that would be read."""
    typed = "-S 'finetune.methods=[random]' -S 'invariance.methods=[random]'"
    assert f"; add {typed}, or add to methods what is" in refusal(change("methods", ["rotation", "random"]))
    typed = "-S 'finetune.methods=[]' -S 'invariance.methods=[rotation]'"
    said = refusal(change("methods", ["rotation"]))
    assert f"name random, exemplar, of which no encoder is made; add {typed}, or" in said


@pytest.mark.parametrize(
    ("change_of_options", "said"),
    [
        ({"sides": 96}, "sources.folder.options.sides is no known key; expected side, train_per_class, folds, skip_br"),
        ({"side": GONE}, "sources.folder.options.side is missing; expected side, train_per_class, folds, skip_broken"),
        ({"side": True}, "sources.folder.options.side True: expected a whole number"),
        ({"skip_broken": 1}, "sources.folder.options.skip_broken 1: expected true or false"),
    ],
)
def test_options_are_those_of_the_dataset(change: Change, change_of_options: dict[str, Any], said: str):
    """Its own functions say what they take, so a wrong or a missing one is told before anything runs."""
    folder = PUBLISHED["sources"]["folder"]
    options = {key: value for key, value in (folder["options"] | change_of_options).items() if value is not GONE}
    assert said in refusal(change("sources.folder", folder | {"options": options}))
    assert "sources.photos.options.side is no known key; expected gamma_spread, gain_spread" in refusal(
        change("sources.photos.options", {"side": 96})
    )
    for wrong in (True, "0.4"):
        options = {"gamma_spread": 0, "gain_spread": wrong}
        assert "sources.photos.options.gain_spread" in refusal(change("sources.photos.options", options))
    assert load_params(change("sources.photos.options", {"gamma_spread": 0, "gain_spread": 0.4}))


@pytest.mark.parametrize(
    "content",
    [b"", b"- 1\n", b"5\n", b"a: [\n", b"a: 1\na: 2\n", b"a: \x00\n", b"a: \xff\n", b"1: 2\n", b"? [a]\n: b\n",
     b"!!python/object:os.system ls\n", b"a: !tag b\n", b"\t- a\n", b"&a [*a]\n"],
)  # fmt: skip
def test_a_file_that_is_no_mapping_of_sections_is_refused(tmp_path: Path, content: bytes):
    """Neither the shape of the file nor its bytes can cause more than one line."""
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_a_file_that_is_not_there_says_where_to_stand(tmp_path: Path):
    """Stages run in the root of the repository."""
    assert "No such file or directory); run from the root of the repository" in refusal(tmp_path / "params.yaml")


def test_a_mistake_ends_the_pipeline_before_it_touches_a_result(change: Change):
    """`python -m stages.check` stands before every stage: one line on stderr, exit status 1, earlier results stay."""
    folder = change("seeds.count", 0).parent
    (folder / "data").mkdir()
    (folder / "data/checked").write_text("earlier")
    ended = subprocess.run(
        [sys.executable, "-m", "stages.check"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error: params.yaml: seeds.count 0: expected a number of at least 1\n"
    assert (folder / "data/checked").read_text() == "earlier"
