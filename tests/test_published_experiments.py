"""runs/: every file asks DVC for experiments that this params.yaml can describe, and says what the paper found."""

import os
import re
import subprocess

import pandas as pd
import pytest

from benchmarks import cost, scale
from benchmarks.asked import ROOT, Asked, Runs
from exemplar.params import schema
from exemplar.params.dotted import flatten
from exemplar.params.load import load_yaml
from exemplar.report import paper, published

PUBLISHED = load_yaml(ROOT / "params.yaml")
# How many experiments each file makes.
COUNTS = {
    "cpu_cifar10": 1,
    "encoder": 1,
    "figure3": 10,
    "figure4": 30,
    "figure5": 9,
    "figure6": 9,
    "million": 2,
    "recipes_cifar10": 6,
    "table1_large": 1,
    "table1_medium": 1,
    "table1_small": 1,
    "table3": 3,
    "table4": 12,
    "tasks_cifar10": 3,
    "tasks_stl10": 1,
}

# Their stages are measured one after another; of all other files several experiments wait in the queue.
MEASURED = {"million"}
QUEUED = {name for name, count in COUNTS.items() if count > 1} - MEASURED


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The copy."""
    return Runs(tmp_path_factory.mktemp("with a space in its name"))


@pytest.fixture(scope="module")
def asked(runs: Runs) -> dict[str, list[Asked]]:
    """What every file asks for."""
    return {name: runs.ask(name) for name in COUNTS}


def test_there_is_a_file_for_each_table_and_figure():
    """And each may be started by its name."""
    files = sorted((ROOT / "runs").glob("*.sh"))
    assert [file.name for file in files] == [f"{name}.sh" for name in COUNTS]
    assert all(os.access(file, os.X_OK) for file in (ROOT / "runs").rglob("*.sh"))


@pytest.mark.parametrize("name", COUNTS)
def test_a_file_begins_with_what_to_expect(name: str):
    """What it reproduces, the paper's numbers, hardware and time, ours or that we did not run it; a mistake ends it."""
    lines = (ROOT / "runs" / f"{name}.sh").read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    code = lines[len(header) :]
    assert header[0] == "#!/bin/sh"
    text = " ".join(line.lstrip("# ") for line in header)
    assert re.search(r"[Tt]he paper, .*\d", text)
    assert re.search(r"Titan GPU|[Tt]wo cores|TFLOP", text)
    assert re.search(r"run by us|Ours: \d", text)
    assert code[0] in ("set -eu", "set -euf")
    assert subprocess.run(["sh", "-n", ROOT / "runs" / f"{name}.sh"], check=False).returncode == 0


@pytest.mark.parametrize("name", COUNTS)
def test_a_file_asks_for_what_params_yaml_can_describe(asked: dict[str, list[Asked]], name: str):
    """Every key that is set is there already, and what comes out passes the strict check; several wait in the queue."""
    assert len(asked[name]) == COUNTS[name]
    for each in asked[name]:
        schema.Params.model_validate(each.numbers)
        assert each.queued == (name in QUEUED)


def test_the_queue_is_started_after_the_last_experiment(runs: Runs):
    """Files with several experiments that wait in it end with `dvc queue start`, others never call it."""
    for name in COUNTS:
        calls = runs.record(name)
        assert [call for call in calls if call[0] == "queue"] == [["queue", "start"]] * (name in QUEUED)
        assert (calls[-1] == ["queue", "start"]) == (name in QUEUED)


def test_every_experiment_has_a_name_of_its_own(asked: dict[str, list[Asked]]):
    """It begins with the file's name, so that `dvc exp show` and `dvc queue status` say what it is for."""
    names = [each.name for group in asked.values() for each in group]
    assert len(set(names)) == len(names)
    for name, group in asked.items():
        assert all(each.name.startswith(name.replace("_", "-")) for each in group)


def test_every_file_says_how_long_to_train(runs: Runs):
    """None relies on the numbers that params.yaml has for the minutes of `make repro`."""
    said = ["model", "unlabeled", "datasets", "methods", "finetune.methods", "seeds.count", "surrogate.samples"]
    said += [f"train.{key}" for key in PUBLISHED["train"]]
    for name in COUNTS:
        for call in runs.record(name):
            given = {argument.partition("=")[0] for argument in call}
            assert call[:2] != ["exp", "run"] or set(said) <= given, name


@pytest.mark.parametrize("name", COUNTS)
def test_what_follows_the_file_counts(runs: Runs, name: str):
    """Options are handed to each `dvc exp run` behind the file's own, where DVC takes the last, also over a sweep."""
    toy = ("-S", "unlabeled=photos", "-S", "datasets=[photos]", "-S", "seeds.count=8", "-S", "train.epochs=1")
    for each in runs.ask(name, *toy):
        assert (each.at("unlabeled"), each.at("datasets")) == ("photos", ["photos"])
        assert (each.at("seeds.count"), each.at("train.epochs")) == (8, 1)


def test_the_encoder_that_ships_is_taken_out_of_its_experiment(runs: Runs):
    """One of an earlier time gives its name to the new one."""
    name = runs.ask("encoder")[0].name
    first, _, last = runs.record("encoder")
    assert first == ["exp", "remove", name]
    new = "exemplar/use/new.safetensors"
    assert last == ["get", ".", "data/encoders/exemplar.safetensors", "--rev", name, "-o", new]
    assert [path.name for path in (runs.folder / "exemplar/use").iterdir()] == ["cifar10.safetensors"]


def test_the_tables_are_those_of_the_paper(asked: dict[str, list[Asked]]):
    """The paper has a number for each network, unlabeled set and dataset; and all of its networks are there."""
    numbers = paper.load()
    for table in ("Table 1", "Table 3", "Table 4"):
        rows = numbers[(numbers["source"] == table) & (numbers["method"] == "exemplar")]
        rows = rows[rows["quantity"] == "accuracy"]
        printed = set(zip(rows["model"], rows["unlabeled"], rows["dataset"], strict=True))
        name = table.lower().replace(" ", "")
        ours = [each for file in asked if file.startswith(name) for each in asked[file]]
        assert printed == {
            (each.at("model"), each.at("unlabeled"), dataset) for each in ours for dataset in each.at("datasets")
        }


def test_few_samples_are_seen_as_often_as_many(asked: dict[str, list[Asked]]):
    """In Figures 3 and 4 every class is seen equally often, whatever the number of its samples."""
    seen = {each.at("surrogate.samples") * each.at("train.epochs") for each in asked["figure3"] + asked["figure4"]}
    assert seen == {24_000}


def listed(asked: list[Asked]) -> pd.DataFrame:
    """These experiments, as `make figures` reads them when they have a result."""
    cells = [
        {name: "" if value is None else value for name, value in flatten(each.numbers).items()}
        | {
            "Experiment": each.name,
            "rev": each.name,
            "Created": "",
            "stl10.exemplar.accuracy": 0.6,
            "stl10.exemplar.std": 0,
        }
        for each in asked
    ]
    return published.load(pd.DataFrame(cells).to_csv(index=False))


def test_figure_5_removes_what_the_paper_removed(asked: dict[str, list[Asked]]):
    """Neutral ranges switch groups off; what is left is the same, and so is all else."""
    rows = paper.load()
    conditions = rows[(rows["source"] == "Figure 5") & (rows["dataset"] == "stl10")]["condition"]
    points = published.ablations(listed(asked["figure5"]), dataset="stl10")
    assert set(points.index) == {"", *conditions}
    assert len(points) == len(asked["figure5"])


def test_figure_6_has_the_nets_that_it_compares(asked: dict[str, list[Asked]]):
    """`make figures` knows each of the nine by the paper's words, the release's ranges under three names."""
    found = published.invariances(listed(asked["figure6"]), dataset="stl10")
    assert {kind: set(points.index) for kind, points in found.items()} == {
        kind: set(nets) for kind, nets in published.NETS.items()
    }
    used = [names for points in found.values() for names in points["experiments"]]
    assert set(used) == {(each.name,) for each in asked["figure6"]}
    assert used.count(("figure6-release",)) == 3


def test_what_the_tables_cost_is_counted_from_these_files():
    """docs/scaling.md holds what `python -m benchmarks.cost` prints."""
    counted = "\n".join(cost.table())
    assert counted in (ROOT / "docs/scaling.md").read_text(), f"put this table into docs/scaling.md:\n{counted}"


def test_what_a_hundred_million_pictures_cost_is_counted():
    """docs/scaling.md holds what `python -m benchmarks.scale` prints."""
    counted = "\n".join(scale.table())
    assert counted in (ROOT / "docs/scaling.md").read_text(), f"put this table into docs/scaling.md:\n{counted}"


def test_operations_are_those_of_the_layers():
    """Of 64c5-64c5-128f with 8,000 classes: the paper's 32 x 32 patches, forward once and backward twice."""
    first, second, full = 3 * 64 * 25 * 32**2, 64 * 64 * 25 * 16**2, 64 * 128 * 8**2
    assert cost.operations("64c5-64c5-128f", classes=8000) == 2 * (2 * first + 3 * (second + full + 128 * 8000))
