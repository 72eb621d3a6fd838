"""The measurements of a GPU: they run whole on a CPU, keep what they have, and say in a line what they lack."""

import json
import math
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imports import ROOT
from recording import Recorder
from test_library import BLOCKED

from benchmarks import material, softmax, svms
from benchmarks.gpu import alone, bounds, captured, cifar10, networks, program, rates, record, session
from benchmarks.measure import LackingError
from benchmarks.table import processor
from exemplar.datasets import batches
from exemplar.errors import UserError, say
from exemplar.params.load import load_params, load_yaml
from exemplar.probe import svm
from exemplar.surrogate.ranges import RELEASE
from exemplar.training.captured import SWITCH

WORKERS = """
import sys
from pathlib import Path
import numpy as np
from benchmarks.gpu import program
program.allow_lack_of_pydantic()
from exemplar.surrogate import build
from exemplar.surrogate.seeds import Seeds
count = build.WINDOWS + 1  # two units of work
seeds = Seeds(np.arange(count), np.full((count, 2), 20.0), np.full(count, 32.0))
images = np.ones((count, 3, 40, 40), np.uint8)
windows, _ = build.cut_windows(images, seeds, reach=0.5, folder=Path(sys.argv[1]))
print(len(windows), windows.min(), Path(sys.modules["pydantic"].__file__).parent.name)
"""


def write_cifar(folder: Path) -> Path:
    """An unpacked CIFAR-10 of noise with ten training images a class: too few for the protocol of 400."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        batch = {b"data": rows, b"labels": [place % 10 for place in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {b"label_names": [f"class {number}".encode() for number in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))
    return folder


def run_lean(arguments: list[str], folder: Path, *, threads: int) -> subprocess.CompletedProcess[str]:
    """Run Python where those packages are not installed that the pipeline alone needs."""
    packages = folder / "packages"
    packages.mkdir()
    for entry in Path(torch.__file__).parents[1].iterdir():
        if entry.name not in BLOCKED:
            (packages / entry.name).symlink_to(entry)
    return subprocess.run(
        [sys.executable, "-S", *arguments],  # without the packages that are beside Python
        cwd=ROOT,
        env={"PYTHONPATH": f"{packages}", "EXEMPLAR_THREADS": f"{threads}", SWITCH: "1"},
        capture_output=True,
        text=True,
    )


def test_a_quick_look_runs_every_part_with_the_core_dependencies(tmp_path: Path):
    """On the CPU, all comparisons are equal, and a piece that fails is kept with its reason while the others go on.

    Two processes share a training, and another tries a CUDA graph. No training is captured because a variable says so,
    which would be said in a line.
    """
    out, archive = tmp_path / "found.json", write_cifar(tmp_path / "cifar")
    options = ["--quick", "--out", str(out), "--cifar10", str(archive), "--minutes", "0.001"]
    finished = run_lean(["-m", "benchmarks", "gpu", *options], tmp_path, threads=1)
    found = json.loads(out.read_text())
    assert found["machine"][SWITCH] == "1"
    assert found["machine"]["triton"] == program.version("triton")
    assert "captured as a CUDA graph" not in out.read_text() + finished.stderr
    parts = found["parts"]
    assert list(parts) == list(program.PARTS), finished.stderr
    failed = [failure["error"] for part in parts.values() for failure in part["failed"]]
    assert failed == ["the class 'class 0' has 10 images; the protocol needs at least 400"], failed
    assert finished.returncode == 1
    assert "Traceback" not in finished.stdout + finished.stderr
    rows = [row for part in parts.values() for row in part["rows"]]
    compared = [row["equal"] for row in rows if "equal" in row]
    assert len(compared) >= 10
    assert all(compared)
    units = {row["unit"] for row in parts["rates"]["rows"] if "unit" in row}
    assert units == {"samples/s", "images/s", "x", "share", "ms", "s"}
    assert {row["device"] for row in rows} == {processor()}
    assert 0 <= parts["cifar10"]["rows"][-2]["value"] <= 100
    assert parts["pair"]["rows"][0]["name"].startswith("gloo, 2 processes")
    skipped = {row["skipped"] for row in rows if "skipped" in row}
    skipped -= {f"PyTorch {torch.__version__} has no LinearCrossEntropyOptions"}  # one before 2.14
    assert skipped == {"this device gains nothing from bfloat16", "there is no CUDA device"}


def test_worker_processes_run_with_the_core_dependencies(tmp_path: Path):
    """Two of them cut windows, by a module that imports pydantic, for which a stand-in is found."""
    finished = run_lean(["-c", WORKERS, str(tmp_path)], tmp_path, threads=2)
    assert finished.stdout == "2049 1 stand_in\n", finished.stderr


def looking(folder: Path, *, seconds: float = 1e4) -> session.Session:
    """A quick look of so many seconds."""
    return session.Session(session.CPU, True, 16, 0.001, seconds, None, folder / "found.json")


def refuse(name: str) -> None:
    """NaN and Infinity are no JSON, though Python reads them."""
    raise AssertionError(f"{name} in a JSON file")


def recorded(works: session.Works, looks: session.Session) -> dict[str, Any]:
    """What the file says of a part, after all of its pieces."""
    record.Part("part", looks, record.Record(looks.out, {"card": "a card", "parts": {}})).measure(works)
    part: dict[str, Any] = json.loads(looks.out.read_text(), parse_constant=refuse)["parts"]["part"]
    return part


def test_the_time_is_kept(tmp_path: Path):
    """What lasts too long is interrupted and keeps its rows, and nothing begins after it; both are listed."""

    def endless() -> Iterator[session.Row]:
        say("warning: the card is hot")
        yield session.measured("first", 1.0, "s", at_most=2.0)
        while True:
            time.sleep(0.01)

    pieces = iter([("endless", endless), ("late", endless)])
    assert recorded(pieces, looking(tmp_path, seconds=2.0))["rows"] == [
        {"name": "first", "value": 1.0, "unit": "s", "at_most": 2.0, "reached": True, "device": "a card"},
        {"name": "endless", "skipped": "the 2 s of --seconds ended it", "device": "a card"},
        {"name": "late", "skipped": "the 2 s of --seconds were over", "device": "a card"},
    ]
    assert json.loads((tmp_path / "found.json").read_text())["parts"]["part"]["pieces"]["endless"]["said"] == [
        "warning: the card is hot"
    ]


def hang(looks: session.Session) -> Iterator[session.Row]:
    """A number, and then a device that never answers."""
    yield session.measured("first", 1.0, "s")
    with bounds.ended_after(0.1):
        threading.Event().wait()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_captured_steps_are_compared_with_steps(tmp_path: Path, precision: torch.dtype):
    """The same losses, each another one, and weights, where what stands for a CUDA graph is asked.

    So it is without it twice, which tells on a card what the card alone does.
    """
    compute, recorder = replace(session.CPU, precision=precision), Recorder()
    rows = list(captured.differences(looking(tmp_path), "fast", compute, recorder))
    name = f"20 captured steps, fast, {str(precision).removeprefix('torch.')}"
    assert [row["name"] for row in rows[2:]] == [f"losses of {name}, relative", f"weights of {name}"]
    assert [row["name"].replace("steps as they are, twice", "captured steps") for row in rows[:2]] == [
        row["name"] for row in rows[2:]
    ]
    assert all(row["equal"] and row["allowed"] == 0 for row in rows)
    assert recorder.replays > 10
    losses, _ = captured.learnt(looking(tmp_path), "fast", compute, None)
    assert len(set(losses)) == len(losses)


def test_a_package_that_is_not_installed_has_no_version():
    """On the CPU alone PyTorch comes without Triton."""
    assert program.version("torch")
    assert program.version("no-package-of-this-name") is None


def test_what_hangs_in_a_process_of_its_own_costs_no_other_row(tmp_path: Path):
    """The process is ended, its rows are kept, and another says how it ended."""
    assert list(alone.rows("second", hang, looking(tmp_path))) == [
        {"name": "first", "value": 1.0, "unit": "s"},
        {"name": "second", "skipped": "its process ended with exit code 1"},
    ]


def test_a_loss_that_is_no_number_is_not_equal():
    """Wherever it stands."""
    assert session.compared("losses", session.apart([1.0, 2.0], [1.0, 2.0]), allowed=0.0)["equal"]
    for losses in ([math.nan, 2.0], [1.0, math.nan]):
        assert not session.compared("losses", session.apart(losses, [1.0, 2.0]), allowed=1.0)["equal"]


def test_a_number_that_is_none_is_written_as_null(tmp_path: Path):
    """JSON has no NaN and no infinity; which of them it was stands beside it."""

    def lost() -> Iterator[session.Row]:
        yield session.compared("losses", math.nan, allowed=1e-4)
        yield session.measured("rate", math.inf, "images/s", milliseconds=0.0)

    losses, rate = recorded(iter([("lost", lost)]), looking(tmp_path))["rows"]
    assert losses["largest"] is None
    assert losses["told"] == {"largest": "nan"}
    assert not losses["equal"]
    assert (rate["value"], rate["told"], rate["milliseconds"]) == (None, {"value": "inf"}, 0.0)


def test_an_archive_is_unpacked_once(tmp_path: Path):
    """What is read from the folder is what is read from the archive; a folder stays where it is."""
    folder = write_cifar(tmp_path / "cifar")
    archive = tmp_path / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
    assert cifar10.unpacked(folder, tmp_path / "batches") == folder
    found = batches.read_batches(cifar10.unpacked(archive, tmp_path / "batches"))
    for ours, theirs in zip(found[:2], batches.read_batches(archive)[:2], strict=True):
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)


def test_a_head_costs_what_its_scores_give_however_they_are_computed():
    """All ways give the same loss and the same gradients in float32, as near as rounding; pieces need PyTorch 2.14."""
    step = softmax.Step(softmax.Case(16, 12, 40, torch.float32), session.CPU)
    found = {}
    for name, way in softmax.WAYS.items():
        try:
            found[name] = float(step.run(way)), step.gradients()
        except LackingError as error:
            assert "has no LinearCrossEntropyOptions" in str(error)  # noqa: PT017  # of any way but the first two
    for loss, gradients in found.values():
        assert loss == pytest.approx(found["plain"][0], rel=1e-5)
        for ours, plain in zip(gradients, found["plain"][1], strict=True):
            torch.testing.assert_close(ours, plain)
    assert {"plain", "as in training"} <= set(found)


def test_operations_of_svms_are_counted_by_precision():
    """The rotation of many samples is one product in float64; the squares, of which half is needed, are in float32."""
    problem = svms.draw(60, 40, 10, costs=[0.1], intercept_scaling=1.0)
    with svms.Counted() as counted:
        svm.rotate_many(problem.features, 1.0)
    assert counted.operations == {torch.float64: 2 * 60 * 41 * 41, torch.float32: 2 * 60 * 41 * 41}


def test_a_training_that_is_cut_leaves_no_encoder(tmp_path: Path):
    """Neither that of the trial nor one that is half trained is measured, or lies there as the result."""
    learnt = cifar10.Learnt(looking(tmp_path), tmp_path, tmp_path)
    learnt.data = material.surrogate_set(8, 4)
    rows = learnt.train()
    assert next(rows)["name"] == "CIFAR-10: epoch 1"
    rows.close()
    assert learnt.encoder is None
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(tmp_path: Path):
    """Nothing is written."""
    with pytest.raises(SystemExit, match=r"^error: PyTorch .* can use no GPU here.*; --quick runs on the CPU$"):
        program.main(["--out", str(tmp_path / "found.json")])
    assert not list(tmp_path.iterdir())


OLD_DRIVER = "int cuInit(unsigned flags) { return 0; } int cuDriverGetVersion(int *v) { return *v = 11000, 0; }"


@pytest.mark.skipif(not torch.version.cuda or not shutil.which("gcc"), reason="needs a build for CUDA and a C compiler")
def test_a_driver_that_is_older_than_the_build_is_told(tmp_path: Path):
    """With both versions; here the driver is a library that has a version and nothing else."""
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(tmp_path / "libcuda.so.1")]
    subprocess.run(command, input=OLD_DRIVER, text=True, check=True)
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu", "--out", str(tmp_path / "found.json")],
        cwd=ROOT,
        env={"LD_LIBRARY_PATH": f"{tmp_path}"},
        capture_output=True,
        text=True,
    )
    too_old = r"\(The NVIDIA driver on your system is too old \(found version 11000\)\. .*\)"
    line = rf"error: PyTorch \S+, built for CUDA \S+, can use no GPU here {too_old}; --quick runs on the CPU\n"
    assert re.fullmatch(line, finished.stderr), finished.stderr


def test_memory_that_is_too_little_is_told_with_the_batch_to_try(tmp_path: Path):
    """In one line."""
    looks = replace(looking(tmp_path), batch=10**14)
    told = r"^out of memory: rendering batches of 10{14}: lower --batch from 10{14} to 50{13}$"
    with pytest.raises(UserError, match=told):
        list(rates.rendering(looks, lambda: material.surrogate_set(4, 4), looks.batch))


def test_the_advice_of_the_library_gives_way_to_that_of_the_measurement():
    """Which has no params.yaml; all other errors stay as they are."""
    for error, told in (
        ("out of memory: lower train.batch_size from 4 to 2", "out of memory: lower --batch"),
        ("odd", "odd"),
    ):
        with pytest.raises(UserError, match=f"^{told}$"), session.enough("lower --batch"):
            raise UserError(error)


def test_results_that_cannot_be_written_are_told_first():
    """Before anything is measured."""
    with pytest.raises(SystemExit, match=r"^error: the results cannot be written \(.*\); --out names another file$"):
        program.main(["--quick", "--out", "/dev/null/found.json"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["speed"], "no part is called speed; expected some of ceilings"),
        (["--batch", "1"], "--batch of 2 or more"),
        (["--minutes", "0"], "--minutes above 0"),
        (["--seconds", "0"], "--seconds above 0"),
        (["--cifar10", "nowhere.tar.gz"], "there is no nowhere.tar.gz"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    """Before anything is measured."""
    with pytest.raises(SystemExit, match="2"):
        program.read(arguments)
    assert said in capsys.readouterr().err


def test_a_failure_of_ours_is_kept_with_its_traceback():
    """A card may be far away; a user's mistake is a line alone."""
    assert record.failure("copy", UserError("lower --batch to 64")) == {
        "piece": "copy",
        "error": "lower --batch to 64",
    }
    kept = record.failure("copy", ValueError("odd"))
    assert kept["error"] == "ValueError: odd"
    assert "traceback" in kept


def test_settings_of_a_published_run_are_those_of_the_parameters():
    """The numbers of params.yaml that stand here again, so that no YAML need be read, are the same."""
    settings = load_params()
    for name, ours in cifar10.PROBES.items():
        theirs = settings.probe[name].model_dump()
        assert {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(ours).items()} == {
            key: list(value) if isinstance(value, tuple) else value for key, value in theirs.items()
        }
    assert list(cifar10.SCALES) == settings.seeds.scales
    assert settings.seeds.most_overlap == cifar10.MOST_OVERLAP
    assert {name: value for name, value in asdict(settings.transformation).items() if name != "family"} == asdict(
        RELEASE
    )
    assert load_yaml(ROOT / "params.yaml")["transformation"]["family"] == "release"


def test_operations_are_counted():
    """Two for each multiplication and addition, forward, for the weights and for what is below; not below the first."""
    first, second, full, head = 32 * 32 * 4 * 3 * 25, 16 * 16 * 4 * 4 * 25, 8 * 8 * 4 * 8, 8 * 5
    counted = networks.operations("release", "4c5-4c5-8f", 5)
    assert counted == (2 * (2 * first + 3 * (second + full + head)), 0)
    assert networks.operations("fast", "4c5-4c5-8f", 5)[1] > 0


def test_a_plan_spends_the_samples():
    """At least two epochs; fewer samples a class where two epochs of all would be too many."""
    assert cifar10.plan(16e6, classes=16_000, samples=100) == (10, 100)
    assert cifar10.plan(1.6e6, classes=16_000, samples=100) == (2, 50)
    assert cifar10.plan(10, classes=20, samples=4) == (2, 1)
