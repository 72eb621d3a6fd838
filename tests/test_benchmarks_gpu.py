"""The measurements of a GPU: they run whole on a CPU, keep what they have, and say in a line what they lack."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imports import ROOT
from test_library import BLOCKED

from benchmarks.gpu import cifar10, networks, program, rates, session
from exemplar.errors import UserError
from exemplar.params.load import load_params, load_yaml
from exemplar.surrogate.ranges import RELEASE

LEAN = f"""
import sys
sys.modules.update(dict.fromkeys({BLOCKED}))  # None there makes an import fail
sys.argv[0] = "benchmarks"
from benchmarks.gpu import program
if __name__ == "__main__":
    program.main(sys.argv[1:])
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


def test_a_quick_look_runs_every_part_with_the_core_dependencies(tmp_path: Path):
    """On the CPU, all comparisons are equal, and a piece that fails is kept with its reason while the others go on."""
    (tmp_path / "lean.py").write_text(LEAN)
    out, archive = tmp_path / "found.json", write_cifar(tmp_path / "cifar")
    command = [sys.executable, "lean.py", "--quick", "--out", str(out), "--cifar10", str(archive), "--minutes", "0.001"]
    finished = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}", "EXEMPLAR_THREADS": "1"}, capture_output=True, text=True
    )
    parts = json.loads(out.read_text())["parts"]
    assert list(parts) == list(program.PARTS), finished.stderr
    failed = [failure["error"] for part in parts.values() for failure in part["failed"]]
    assert failed == ["the class 'class 0' has 10 images; the protocol needs at least 400"]
    assert finished.returncode == 1
    assert "Traceback" not in finished.stdout + finished.stderr
    compared = [row["equal"] for part in parts.values() for row in part["rows"] if "equal" in row]
    assert len(compared) >= 8
    assert all(compared)
    assert {row["unit"] for row in parts["rates"]["rows"] if "unit" in row} == {"samples/s", "images/s", "s"}
    assert 0 <= parts["cifar10"]["rows"][-1]["value"] <= 100
    assert parts["pair"]["rows"][0]["name"].startswith("gloo, 2 processes")
    skipped = {row["skipped"] for part in parts.values() for row in part["rows"] if "skipped" in row}
    assert skipped == {
        "this device gains nothing from bfloat16",
        "the compiler takes longer than a quick look",
        "there is no CUDA device",
    }


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
    looking = session.Session(session.CPU, True, 16, 1.0, None, tmp_path / "found.json")
    with pytest.raises(UserError, match=r"^out of memory: rendering: lower --batch from \d+ to \d+$"):
        list(rates.rendering(looking, rates.surrogate(looking), (10**14,)))


COMPILED = """
from json import dumps
from pathlib import Path
from benchmarks import material
from benchmarks.gpu import rates
from benchmarks.gpu.session import CPU, Session, optional
session, data = Session(CPU, False, 16, 1.0, None, Path()), material.surrogate_set(8, 8)
print(dumps(list(optional("compiled", lambda: rates.compiled(session, data, 16)))))
"""


def compiled_row(compiler: str, folder: Path) -> dict[str, Any]:
    """What is told of the compiled rendering with this C++ compiler, in a process that checks no types."""
    finished = subprocess.run(
        [sys.executable, "-c", COMPILED],
        cwd=ROOT,
        env={
            "CXX": compiler,
            "PATH": os.environ["PATH"],
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}",
            "EXEMPLAR_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    [row] = json.loads(finished.stdout)
    found: dict[str, Any] = row
    return found


@pytest.mark.soak  # the compiler takes half a minute
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_compiled_rendering_gives_the_same_samples(tmp_path: Path):
    """It is traced whole, and differs by what rounding makes of a steep colour chain: one digit in gives 3e-6."""
    row = compiled_row("g++", tmp_path)
    assert row["largest_difference"] < 3e-5, row
    assert row["mean_difference"] < 2e-7


@pytest.mark.soak  # it is missed only after the tracing
def test_a_compiler_that_is_not_there_costs_a_line(tmp_path: Path):
    """Nothing else is lost."""
    assert "No working C++ compiler found" in compiled_row("/nowhere/c++", tmp_path)["skipped"]


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
    assert program.failure("copy", UserError("lower --batch to 64")) == {
        "piece": "copy",
        "error": "lower --batch to 64",
    }
    kept = program.failure("copy", ValueError("odd"))
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
    assert counted == 2 * (2 * first + 3 * (second + full + head))


def test_a_plan_spends_the_samples():
    """At least two epochs; fewer samples a class where two epochs of all would be too many."""
    assert cifar10.plan(16e6, classes=16_000, samples=100) == (10, 100)
    assert cifar10.plan(1.6e6, classes=16_000, samples=100) == (2, 50)
    assert cifar10.plan(10, classes=20, samples=4) == (2, 1)
