"""The library is layered: imports run downhill, and MLflow and DVC's paths are known in one place each."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from imports import MODULES, ROOT, imported, names, strings

# What stands on one level may also import each other, but never in a circle. The first names of each level are those
# of the picture in the design; what was split off from them stands behind.
LEVELS = {
    5: "stages/*",
    4: "tracking report  doctor operations serving store",
    3: "training methods/* finetune  gallery invariance",
    2: "surrogate seeds features probe  soundness comparison experiments figure6 panels published studies",
    1: "network transformation datasets/* svm fetch "
    " archives checkpoints distributed evaluation intact linear_svm paper sheets space team transfer watch",
    0: "params architecture errors progress device atomic kernels/* datasets/base "
    " arrays figures finished mistakes orphans provenance ranges sharing signals sources spool",
}


def level(file: Path) -> int | None:
    """The level of a module by its own name, or else by its folder's."""
    name = str(file.relative_to("exemplar") if file.parts[0] == "exemplar" else file).removesuffix(".py")
    for wanted in (name, f"{name.rpartition('/')[0]}/*"):
        for number, modules in LEVELS.items():
            if wanted in modules.split():
                return number
    return None


@pytest.mark.parametrize("file", MODULES, ids=str)
def test_imports_run_downhill(file: Path):
    """A module knows nothing of what stands above it."""
    own = level(file)
    assert own is not None, f"{file} has no level"
    uphill = [str(other) for other in imported(file) if (level(other) or 0) > own]
    assert not uphill, f"{file} on level {own} imports {', '.join(uphill)} from above"


def test_every_name_in_the_picture_is_a_module():
    """The picture does not show what is gone."""
    for word in " ".join(LEVELS.values()).split():
        folder = ROOT if word.startswith("stages") else ROOT / "exemplar"
        assert any(folder.glob(word if word.endswith("*") else f"{word}.py")), word


def test_no_import_runs_in_a_circle():
    """A CycleError would name the circle."""
    assert set(TopologicalSorter({file: imported(file) for file in MODULES}).static_order()) == set(MODULES)


def test_only_tracking_and_its_operations_import_mlflow():
    """Whoever trades the tracker for another one reads three files."""
    knowing = {str(file) for file in MODULES if any(name.split(".")[0] == "mlflow" for name in names(file))}
    assert knowing == {"exemplar/store.py", "exemplar/tracking.py", "exemplar/operations.py"}


def test_architecture_and_params_know_no_torch():
    """A wrong model string is told before two seconds of imports."""
    for file in ("architecture", "params", "ranges", "mistakes", "errors", "atomic", "progress", "provenance", "fetch"):
        assert not [name for name in names(Path(f"exemplar/{file}.py")) if name.split(".")[0] == "torch"], file


def test_only_stages_name_the_paths_of_the_pipeline():
    """A function of the library is told where to read and write."""
    place = re.compile(r"(data|results)(/(unlabeled|labeled|seeds|surrogate|encoders|curves|evaluations|checked).*|/)?")
    naming = {str(file) for file in MODULES for text in strings(file) if place.fullmatch(text)}
    assert {file for file in naming if not file.startswith("stages/")} == set()
    assert "stages/train.py" in naming


def test_packages_open_without_a_word():
    """An `__init__.py` that imported all methods would be a dependency of every stage."""
    for file in [*ROOT.glob("exemplar/**/__init__.py"), ROOT / "stages/__init__.py"]:
        assert file.read_text() == "", file
