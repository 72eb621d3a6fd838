"""The packages are the pipeline in order: imports run downhill; MLflow and DVC's paths are known in one place each."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from imports import EXCUSED, MODULES, ROOT, imported, names, package, strings

# Each imports only those above it in this list, and files of its own.
ORDER = (
    "errors.py",
    "io",
    "runtime",
    "datasets",
    "surrogate",
    "models",
    "training",
    "params",
    "methods",
    "probe",
    "finetune.py",
    "invariance.py",
    "tracking",
    "use",
    "report",
    "doctor.py",
    "__main__.py",
    "stages",
)
# What the excused import of the packages that make numbers; a stage computes with nothing that they hand back: params
# needs the languages of params.yaml, tracking the encoder that travels with a logged model and accuracies' intervals.
READ_BY_EXCUSED = {
    "exemplar/params/schema.py": {"exemplar/models/architecture.py", "exemplar/surrogate/ranges.py"},
    "exemplar/tracking/card.py": {"exemplar/datasets/intervals.py"},
    "exemplar/tracking/telling.py": {"exemplar/datasets/evaluation.py", "exemplar/datasets/intervals.py"},
    "exemplar/tracking/serving.py": {
        "exemplar/datasets/base.py",
        "exemplar/models/images.py",
        "exemplar/models/network.py",
        "exemplar/models/saved.py",
    },
}
LARGEST_MODULE, LARGEST_MEDIAN = 250, 120


@pytest.mark.parametrize("file", MODULES, ids=str)
def test_imports_run_downhill(file: Path):
    """A module knows nothing of what stands below its package in the list."""
    own = ORDER.index(package(file))
    uphill = [str(other) for other in imported(file) if ORDER.index(package(other)) > own]
    assert not uphill, f"{file} imports {', '.join(uphill)}"


def test_the_list_is_the_folder():
    """What is listed is there, and nothing else stands at the top of the package."""
    there = {
        path.name
        for path in (ROOT / "exemplar").iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed")
    }
    assert there == {*ORDER} - {"stages"}


def test_no_import_runs_in_a_circle():
    """A CycleError would name the circle."""
    assert set(TopologicalSorter({file: imported(file) for file in MODULES}).static_order()) == set(MODULES)


@pytest.mark.parametrize("file", [file for file in MODULES if package(file) in EXCUSED], ids=str)
def test_what_dvc_does_not_watch_makes_no_numbers(file: Path):
    """dvc.yaml leaves some packages out, because they import nothing of those that decide what is measured."""
    reached = {str(other) for other in imported(file) if package(other) not in EXCUSED}
    assert reached == READ_BY_EXCUSED.get(str(file), set())


def test_only_tracking_imports_mlflow():
    """Whoever trades the tracker for another one reads one package."""
    knowing = {package(file) for file in MODULES if any(name.split(".")[0] == "mlflow" for name in names(file))}
    assert knowing == {"tracking"}


def test_params_and_what_it_reads_know_no_torch():
    """A wrong model string is told before two seconds of imports."""
    light = [file for file in MODULES if package(file) in ("errors.py", "io", "params")]
    light += [Path("exemplar/models/architecture.py"), Path("exemplar/surrogate/ranges.py")]
    for file in light:
        assert not [name for name in names(file) if name.split(".")[0] == "torch"], file


def test_only_stages_name_the_paths_of_the_pipeline():
    """A function of the library is told where to read and write."""
    place = re.compile(r"(data|results)(/(unlabeled|labeled|seeds|surrogate|encoders|evaluations|checked).*|/)?")
    naming = {str(file) for file in MODULES for text in strings(file) if place.fullmatch(text)}
    assert {file for file in naming if not file.startswith("stages/")} == set()
    assert "stages/train.py" in naming


def test_packages_open_without_a_word():
    """An `__init__.py` that imported all methods would be a dependency of every stage."""
    inner = [file for file in ROOT.glob("exemplar/**/__init__.py") if file.parent.name != "exemplar"]
    for file in [*inner, ROOT / "stages/__init__.py"]:
        assert file.read_text() == "", file


def test_modules_are_short():
    """Half of them fit on two screens, and none is longer than five."""
    lengths = sorted(len((ROOT / file).read_text().splitlines()) for file in MODULES if file.parts[0] == "exemplar")
    assert lengths[-1] <= LARGEST_MODULE
    assert lengths[len(lengths) // 2] < LARGEST_MEDIAN
