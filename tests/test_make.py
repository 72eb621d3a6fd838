"""The Makefile's own logic, with programs that only say that they were called, and that of .ci/run."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exemplar.params.load import load_params

MAKEFILE = Path(__file__).parents[1] / "Makefile"
PROGRAM = '#!/bin/sh\necho "called: $(basename "$0") $*"\n'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that is set up."""
    folder = tmp_path / "repository"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(MAKEFILE, folder)
    (folder / "pyproject.toml").touch()
    for name in ("dvc", "python"):
        program = folder / ".venv" / "bin" / name
        program.write_text(PROGRAM)
        program.chmod(0o755)
    (folder / ".venv" / "ready").write_text(f"{folder}\n")
    return folder


def make(folder: Path, *words: str) -> str:
    """What `make` prints."""
    command = ["make", "--no-print-directory", *words, f"PYTHON={folder}/.venv/bin/python"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_second_call_sets_nothing_up(repository: Path) -> None:
    """Neither a virtual environment nor an installation."""
    assert "called: dvc repro" in (said := make(repository, "repro"))
    assert "venv" not in said.replace(str(repository), "")


def test_a_moved_repository_is_set_up_anew_once(repository: Path) -> None:
    """The old virtual environment is cleared, because its programs name the old place."""
    moved = repository.rename(repository.with_name("moved"))
    said = make(moved, "repro")
    assert "called: python -m venv --clear .venv" in said
    assert said.index("called: python -m pip install") < said.index("called: dvc repro")
    assert "venv" not in make(moved, "repro")


def test_a_page_of_other_results_is_written_anew(repository: Path) -> None:
    """DVC restores a comparison from its cache, but not the page; where the page is current nothing more runs."""
    assert make(repository, "repro").count("called: dvc") == 1
    older = '#!/bin/sh\ncase "$*" in *stamp*) exit 1;; esac\n'
    (repository / ".venv" / "bin" / "python").write_text(older)
    assert "called: dvc repro --force --single-item compare" in make(repository, "repro")


def test_a_run_of_the_pipeline_ends_with_the_table(repository: Path) -> None:
    """Behind whatever DVC advises."""
    assert make(repository, "repro").splitlines()[-1] == "called: python -m exemplar.report.ending results"


def test_the_pages_of_mlflow_have_a_port(repository: Path) -> None:
    """5000, or the one that is named."""
    assert "called: python -m stages.ui --port 5000" in make(repository, "ui")
    assert "called: python -m stages.ui --port 5005" in make(repository, "ui", "PORT=5005")


def test_files_that_a_kill_emptied_do_not_keep_dvc_from_starting(repository: Path) -> None:
    """Full ones stay."""
    locks = repository / ".dvc" / "tmp" / "rwlock"
    locks.parent.mkdir(parents=True)
    locks.touch()
    (repository / "dvc.lock").write_text("stages: {}\n")
    make(repository, "repro")
    assert not locks.exists()
    assert (repository / "dvc.lock").exists()
    (repository / "dvc.lock").write_text("")
    make(repository, "repro")
    assert not (repository / "dvc.lock").exists()


def test_the_own_check_runs_a_small_pipeline(tmp_path: Path) -> None:
    """What .ci/run changes in params.yaml is still there to be changed, and leaves one epoch of everything."""
    shutil.copy(MAKEFILE.with_name("params.yaml"), tmp_path)
    script = (MAKEFILE.parent / ".ci" / "run").read_text().replace("\\\n", " ")
    (change,) = (line for line in script.splitlines() if line.startswith("sed "))
    subprocess.run(["bash", "-c", change], cwd=tmp_path, check=True)
    small = load_params(tmp_path / "params.yaml")
    assert small.seeds.count * small.surrogate.samples <= 200
    assert [part.epochs for part in (small.train, *small.finetune.choices)] == [1, 1, 1]


def test_mutants_without_their_package_say_which_command_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in a group of its own, which `make mutants` installs."""
    monkeypatch.setitem(sys.modules, "cosmic_ray", None)
    with pytest.raises(SystemExit, match=r"^error: the package cosmic-ray is not installed; run make mutants, which"):
        runpy.run_path(str(Path(__file__).with_name("mutants.py")))
