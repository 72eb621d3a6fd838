"""Names and passwords reach no log, tag, parameter or page; what comes from files is escaped; the UI stays at home."""

import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from exemplar.datasets.evaluation import Evaluation
from exemplar.errors import UserError, one_line
from exemplar.io import provenance
from exemplar.params.load import load_params
from exemplar.report import page, paper
from exemplar.surrogate.ranges import RELEASE
from exemplar.tracking import runs
from exemplar.tracking.sidecars import Sidecar
from stages import ui

ROOT = Path(__file__).parents[2]
SECRET = "hunter2"
URL = f"http://alice:{SECRET}@localhost:1/set.tar?token={SECRET}"
HOSTILE = '<script>alert("x")</script>'
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def private(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed repository whose owner then put a password into params.yaml, and others into the environment."""
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-qm", "first")
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["sources"]["photos"] |= {"url": URL, "mirrors": [URL], "md5": "0" * 32}
    yaml.dump(content, Path("params.yaml"))
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    return repository


def test_a_run_tells_mlflow_no_secret(private: Path) -> None:
    """Neither as a parameter nor as a tag, nor in the patch of params.yaml, nor in the reason of a failure."""
    with (
        pytest.raises(UserError),
        runs.run(stage="compare", name="x", parameters=load_params().model_dump(), inputs=[Path("params.yaml")]),
    ):
        raise UserError(f"cannot reach {URL.partition('?')[0]}")
    kept = [path for path in private.rglob("*") if path.is_file() and path.name != "params.yaml"]
    assert any(path.name == "git.diff" for path in kept)
    assert any(path.name == "mlflow.db" for path in kept)
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


def test_a_dump_of_the_settings_has_no_secret_but_the_fetch_has(private: Path) -> None:
    """What MLflow and the page show is the dump; what is fetched is the URL as it stands."""
    read = load_params()
    assert read.sources["photos"].url == URL
    assert read.model_dump()["sources"]["photos"]["url"] == "http://localhost:1/set.tar"
    assert SECRET not in str(read.model_dump()) + read.model_dump_json()


def test_the_patch_of_a_dirty_tree_has_no_secret(private: Path) -> None:
    """It still says what was changed."""
    patch = provenance.changes().patch
    assert "url: http://localhost:1/set.tar" in patch
    assert SECRET not in patch


@pytest.mark.parametrize("stage", [["check"], ["download", "unlabeled", "photos"]])
def test_a_stage_that_fails_prints_no_secret(private: Path, stage: list[str]) -> None:
    """Not in the line that quotes a mistake in params.yaml, and not in that of a server that is not there."""
    if stage == ["check"]:
        Path("params.yaml").write_text(Path("params.yaml").read_text().replace("mirrors:", "mirror:"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_ROOT": str(private)}
    script = f"import sys; sys.argv = {['stage', *stage[1:]]}\n" + (
        "from exemplar.datasets.fetching import fetch, transfer\n"
        "fetch.Patience.__new__.__defaults__ = ()\nimport time\ntime.sleep = lambda _: None\n"
        f"import runpy; runpy.run_module('stages.{stage[0]}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "localhost:1/set.tar" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_line_has_no_control_characters() -> None:
    """A name from a file cannot move a terminal's cursor, begin a new line or hide what stands before it."""
    assert one_line("a\x1b[2Jb\nc\rd\u202ee \x00f") == "a [2Jb c d e f"


def test_the_page_escapes_what_comes_from_files() -> None:
    """Names of datasets, methods, classes and encoders, values of settings, ids of runs."""
    record = Evaluation(
        dataset=HOSTILE,
        method=HOSTILE,
        model=HOSTILE,
        readout="probe",
        accuracy=[1.0],
        class_accuracy=[1.0],
        knn_accuracy=None,
        training_samples=1,
        labels_for_choice=0,
        chosen=[],
        classes=[HOSTILE, "$\\bad$"],
        confusion=[[1, 0], [0, 1]],
        answers=["11"],
    )
    curve = pd.DataFrame([[1, 2.0, 0.5, 0.4, 0.1, 0.1, 9]], columns=CURVE)
    point = {"transformation": "angle_degrees", "magnitude": 0.0, "accuracy": 1.0, "distance_pooled": 0.0}
    point |= {"accuracy_low": 0.5, "accuracy_high": 1.0}
    html = page.page(
        records=[record, replace(record, method="random")],
        unlabeled=HOSTILE,
        curves={HOSTILE: curve},
        filters={HOSTILE: np.ones((2, 3, 5, 5), np.float32)},
        exciting={HOSTILE: np.zeros((2, 3, 3, 32, 32), np.uint8)},
        seeds=np.zeros((2, 3, 32, 32), np.uint8),
        samples=np.zeros((1, 2, 3, 32, 32), np.uint8),
        invariance=pd.DataFrame([{**point, "dataset": HOSTILE, "method": HOSTILE}]),
        marks=paper.invariance(unlabeled=HOSTILE, ranges=asdict(RELEASE)),
        settings={"sources": {HOSTILE: {"url": HOSTILE}}},
        made={HOSTILE: Sidecar(HOSTILE, 1.0)},
        origin={"commit": HOSTILE},
        changed=[(HOSTILE, HOSTILE, HOSTILE)],
        stamp=HOSTILE,
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 8


CURVE = ["epoch", "loss", "score", "held_out_score", "chance", "learning_rate", "encoder_passes"]


def test_the_ui_listens_on_loopback_only() -> None:
    """`make ui` asks for it in so many words; whoever wants more starts MLflow's server without make."""
    program = (ROOT / "stages" / "ui.py").read_text()
    assert ui.HOST == "127.0.0.1"
    assert '"--host", HOST' in program
    assert "0.0.0.0" not in program + (ROOT / "Makefile").read_text()


def test_a_port_that_is_taken_is_one_line() -> None:
    """It says which one to try."""
    with socket.socket() as taken:
        taken.bind((ui.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use, .*; call make ui PORT={port + 1}"):
            ui.require_free(port)


def test_no_name_from_params_reaches_a_shell_before_it_is_checked(repository: Path) -> None:
    """DVC puts names into commands; the first stage, which every other needs, admits names of our own files only."""
    for key in ("datasets", "methods", "unlabeled"):
        content = YAML().load(Path("params.yaml"))
        content[key] = "photos; touch owned" if key == "unlabeled" else ["photos; touch owned"]
        YAML().dump(content, Path("broken.yaml"))
        with pytest.raises(UserError, match="'photos; touch owned': is unknown; expected"):
            load_params(Path("broken.yaml"))


def test_nothing_of_ours_unpickles() -> None:
    """Weights come as safetensors or with weights_only, arrays without pickle; CIFAR has an unpickler of its own."""
    for file in (*(ROOT / "exemplar").rglob("*.py"), *(ROOT / "stages").rglob("*.py")):
        code = file.read_text()
        assert "pickle.load" not in code, file
        assert "allow_pickle=True" not in code, file
        assert "torch.load(" not in code or "weights_only=True" in code, file
        assert "shell=True" not in code, file
        assert "extractall" not in code, file
