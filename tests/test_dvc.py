"""dvc.yaml tells DVC everything that a stage's result depends on, and no more: else stale results are used again."""

import ast
import os
import re
import resource
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from imports import ROOT, closure, is_excused, strings, tree
from ruamel.yaml import YAML

from exemplar.params import names
from exemplar.params.load import load_yaml

PUBLISHED = load_yaml(ROOT / "params.yaml")
STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
# Every name that can stand for a template in a path.
CHOICES = {
    "${unlabeled}": names.names_in("datasets", having=r"^def write_unlabeled\("),
    "${item.dataset}": names.names_in("datasets", having=r"^def write_labeled\("),
    "${item.method}": names.names_in("methods", having=r"^def fit\("),
}
MODULE = re.compile(r"python -m (stages\.\w+)")
TEMPLATE = re.compile(r"\$\{[^}]*\}")


def script(stage: dict[str, Any]) -> Path:
    """The program that a stage runs."""
    found = MODULE.match(stage["cmd"])
    assert found, stage["cmd"]
    return Path(*found[1].split(".")).with_suffix(".py")


def closures(stage: dict[str, Any]) -> list[set[str]]:
    """The files of code, and the files of data beside them that it names, for every instance of a stage."""
    start = script(stage)
    templates = [dep for dep in stage["deps"] if dep.startswith("exemplar/") and TEMPLATE.search(dep)]
    chosen = [[Path(TEMPLATE.sub(name, dep)) for name in CHOICES[TEMPLATE.search(dep)[0]]] for dep in templates]
    sets = []
    for file in chosen[0] if chosen else [start]:
        code = closure(start, file)
        beside = {file.parent / text for file in code for text in strings(file) if "." in text[1:] and "/" not in text}
        data = {file for file in beside if (ROOT / file).is_file() and file.suffix != ".py"}
        sets.append({str(file) for file in code | data})
    return sets


def lies_in(file: str, listed: str) -> bool:
    """Whether a file is what is listed, or in that package."""
    return file == listed or file.startswith(f"{listed}/")


def named(stage: dict[str, Any]) -> set[str]:
    """The files of packages whose path is a text of a program, which reads and does not run them."""
    folders = {ROOT / text for text in strings(script(stage)) if text.startswith("exemplar/")}
    return {str(file.relative_to(ROOT)) for folder in folders for file in folder.rglob("*.py") if file.read_text()}


def faults(stage: dict[str, Any]) -> list[str]:
    """What is missing in the deps of a stage, and what is stale."""
    listed = {dep for dep in stage["deps"] if dep.startswith(("exemplar/", "stages/"))}
    found = named(stage).union(*closures(stage))
    templates = {dep for dep in listed if TEMPLATE.search(dep)}
    covered = {TEMPLATE.sub(name, dep) for dep in templates for name in CHOICES[TEMPLATE.search(dep)[0]]}
    missing = {file for file in found if not any(lies_in(file, each) for each in listed | covered)}
    # Every instance lists every plain dep, so one that only some need is right; one that none needs is stale.
    stale = {each for each in listed - templates if not any(lies_in(file, each) for file in found)}
    return [f"{file} is missing" for file in sorted(missing)] + [f"{file} is stale" for file in sorted(stale)]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_packages_whose_code_it_runs(name: str):
    """For every dataset and method that it can run, what is imported is listed, and nothing listed is idle."""
    assert faults(STAGES[name]) == []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_that_imports_by_name_lists_the_file_by_the_same_name(name: str):
    """`import_module(f"exemplar.methods.{method}")` is a dep `exemplar/methods/${item.method}.py`, and back."""
    calls = [
        node.args[0].values[0].value
        for node in ast.walk(tree(script(STAGES[name])))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    ]
    listed = [TEMPLATE.split(dep)[0] for dep in STAGES[name]["deps"] if re.match(r"exemplar/.*\$\{", dep)]
    assert [call.replace(".", "/") for call in calls] == listed


@pytest.mark.parametrize("name", STAGES)
def test_a_missing_and_a_stale_dep_are_named(name: str):
    """The check above is no formality: each entry that is taken away, and each that is put in, is found."""
    whole = STAGES[name]["deps"]
    for dep in (dep for dep in whole if dep.startswith(("exemplar/", "stages/")) and not TEMPLATE.search(dep)):
        stage = deepcopy(STAGES[name]) | {"deps": [other for other in whole if other != dep]}
        found = faults(stage)
        assert found, dep
        assert all(lies_in(fault.removesuffix(" is missing"), dep) for fault in found)
    stage = deepcopy(STAGES[name]) | {"deps": [*whole, "exemplar/gone.py"]}
    assert faults(stage) == ["exemplar/gone.py is stale"]


def test_a_method_that_is_made_of_others_is_made_again_when_their_files_change(tmp_path: Path):
    """`check` notes the digests of its parts' files, a file for each method; `train` depends on its own."""
    shutil.copytree(ROOT / "exemplar/methods", tmp_path / "exemplar/methods")
    settings = deepcopy(PUBLISHED) | {"methods": ["exemplar", "random", "multi_task"]}
    YAML().dump(settings, tmp_path / "params.yaml")
    noted = []
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "stages.check"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=True,
        )
        noted.append({file.name: file.read_text() for file in (tmp_path / "data/parts").iterdir()})
        with (tmp_path / "exemplar/methods/rotation.py").open("a") as opened:
            opened.write("# one line more\n")
    assert noted[0].keys() == {"exemplar.txt", "random.txt", "multi_task.txt"}
    assert {name for name in noted[0] if noted[0][name] != noted[1][name]} == {"multi_task.txt"}
    assert "data/parts/${item.method}.txt" in STAGES["train"]["deps"]


def test_no_stage_depends_on_what_makes_no_numbers():
    """A comma in a progress bar trains nothing again."""
    listed = {
        Path(dep) for stage in STAGES.values() for dep in stage["deps"] if dep.startswith(("exemplar/", "stages/"))
    }
    assert not [dep for dep in listed if is_excused(dep)]


def reruns(file: str) -> set[str]:
    """The stages that DVC runs again, themselves, when a file changes; what follows from new results comes on top."""
    return {
        name
        for name, stage in STAGES.items()
        for dep in stage["deps"]
        if any(
            lies_in(file, TEMPLATE.sub(choice, dep))
            for choice in CHOICES.get(str(TEMPLATE.search(dep) and TEMPLATE.search(dep)[0]), [""])
        )
    }


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("exemplar/report/page.py", {"compare"}),
        ("exemplar/report/page.html.jinja", {"compare"}),
        ("exemplar/probe/svm.py", {"probe", "invariance"}),
        ("exemplar/finetune.py", {"finetune"}),
        ("exemplar/invariance.py", {"invariance"}),
        ("exemplar/methods/random.py", {"check", "train"}),
        ("exemplar/datasets/stl10.py", {"download", "download_unlabeled"}),
        ("exemplar/training/loop.py", {"train", "finetune"}),
        ("exemplar/tracking/runs.py", set()),
        ("exemplar/use/loaded.py", set()),
        ("exemplar/io/atomic.py", set()),
        ("exemplar/runtime/progress.py", set()),
        ("exemplar/params/schema.py", set()),
        ("exemplar/doctor.py", set()),
        ("stages/cli.py", set()),
    ],
)
def test_a_change_runs_again_what_it_changes_and_no_more(file: str, stages: set[str]):
    """Packages are cut where results are cut."""
    assert (ROOT / file).exists()
    assert reruns(file) == stages


def outputs(stage: dict[str, Any]) -> list[str]:
    return [
        next(iter(out)) if isinstance(out, dict) else out
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    ]


def needs(stage: dict[str, Any]) -> set[str]:
    """The stages whose outputs a stage reads; a folder holds the outputs of several."""
    read = [TEMPLATE.sub("*", dep) for dep in stage["deps"]]
    return {
        name
        for name, other in STAGES.items()
        for out in outputs(other)
        for dep in read
        if TEMPLATE.sub("*", out) == dep or out.startswith(f"{dep}/") or dep.startswith(f"{out}/")
    }


@pytest.mark.parametrize("name", [name for name in STAGES if name != "check"])
def test_no_stage_runs_before_all_of_params_has_been_read(name: str):
    """Every stage depends, directly or not, on data/checked: a mistake anywhere stops the run before it begins."""
    found, waiting = set[str](), {name}
    while waiting:
        stage = waiting.pop()
        found.add(stage)
        waiting |= needs(STAGES[stage]) - found
    assert "check" in found


@pytest.mark.parametrize("name", STAGES)
def test_every_dep_is_a_file_or_the_output_of_a_stage(name: str):
    """There is no dep that nothing makes."""
    made = [TEMPLATE.sub("*", out) for stage in STAGES.values() for out in outputs(stage)]
    for dep in (TEMPLATE.sub("*", dep) for dep in STAGES[name]["deps"]):
        assert list(ROOT.glob(dep)) or any(
            out == dep or out.startswith(f"{dep}/") or dep.startswith(f"{out}/") for out in made
        ), dep


@pytest.mark.parametrize("name", STAGES)
def test_the_numbers_that_a_stage_reads_are_its_params(name: str):
    """Every section of params.yaml that the program touches is listed for a stage that runs it."""
    file = script(STAGES[name])
    attributes = [node for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute)]
    # A stage that is started by hand asks `datasets` and `methods` whether its arguments are listed; no result follows.
    touched = {node.attr for node in attributes if ast.unparse(node.value) == "settings"} & set(PUBLISHED)
    if script(STAGES[name]).stem != "compare":
        touched -= {"datasets", "methods"}
    listed = [key for stage in STAGES.values() if script(stage) == file for key in stage["params"]]
    # `params.yaml:` alone is all of it
    known = {key.split(".")[0] for key in listed if isinstance(key, str)}
    if {"params.yaml": None} not in listed:
        assert touched - known == set()


def templated(node: ast.expr) -> str:
    """The text of a string or an f-string; a name in braces stands for the template of that name."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(templated, node.values))
    if isinstance(node, ast.FormattedValue):
        return f"${{item.{ast.unparse(node.value)}}}"
    return str(node.value) if isinstance(node, ast.Constant) else ""


def data_paths(file: Path) -> set[str]:
    """What a program opens under data/ and results/."""
    calls = [node for node in ast.walk(tree(file)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path"]
    return {text for call in calls if (text := templated(call.args[0])).startswith(("data/", "results/"))}


def unlisted_paths(stages: list[dict[str, Any]]) -> set[str]:
    """The paths of a program that are neither deps nor outputs of the stages that run it, nor lie in one."""
    listed = {entry for stage in stages for entry in [*stage["deps"], *outputs(stage)]}
    return {
        path
        for path in data_paths(script(stages[0]))
        if not any(lies_in(path, entry) or lies_in(entry, path) for entry in listed)
    }


def params_read(file: Path) -> set[str]:
    """The dotted keys of params.yaml that a program reads; of a section that is dumped, each key but the excluded."""
    nodes, keys = list(ast.walk(tree(file))), set[str]()
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute | ast.Subscript)}
    dumps = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if not isinstance(node, ast.Attribute | ast.Subscript) or id(node) in inner:
            continue
        root, _, key = re.sub(r"\[(\w+)\]", r".${item.\1}", ast.unparse(node)).partition(".")
        section, _, last = key.rpartition(".")
        if root != "settings" or key.split(".")[0] not in PUBLISHED:
            continue
        if last == "model_dump" and section in PUBLISHED:
            excluded = {name for option in dumps[id(node)].keywords for name in ast.literal_eval(option.value)}
            keys |= {f"{section}.{name}" for name in PUBLISHED[section] if name not in excluded}
        else:
            keys.add(section if last == "model_dump" else key)
    return keys


# The mean sample is computed in float32, whatever training is in.
UNUSED = {"stages/surrogate.py": {"compute.precision"}}


def unlisted_params(stages: list[dict[str, Any]]) -> set[str]:
    """The keys of params.yaml that a program reads and that the stages that run it do not list."""
    file = script(stages[0])
    listed = [key for stage in stages for key in stage.get("params", [])]
    if {"params.yaml": None} in listed:
        return set()
    whole = {key for key in params_read(file) if "." not in key}
    return {
        key
        for key in params_read(file) - UNUSED.get(str(file), set())
        if not any(key == each or key.startswith(f"{each}.") for each in listed)
        and not (key in whole and any(each.startswith(f"{key}.") for each in listed))
    }


@pytest.mark.parametrize("name", STAGES)
def test_the_data_that_a_program_opens_are_deps_or_outputs(name: str):
    """Whatever it reads or writes under data/ and results/, by the template of the same name."""
    same = [stage for stage in STAGES.values() if script(stage) == script(STAGES[name])]
    assert unlisted_paths(same) == set()
    if len(same) == 1:
        for entry in (dep for dep in same[0]["deps"] if dep in data_paths(script(same[0]))):
            lacking = deepcopy(same[0]) | {"deps": [dep for dep in same[0]["deps"] if dep != entry]}
            assert unlisted_paths([lacking]) == {entry}


@pytest.mark.parametrize("name", STAGES)
def test_every_key_of_params_that_a_program_reads_is_listed(name: str):
    """Key by key: `probe.photos` is not `probe.${item.dataset}`, and one key of a section is not another."""
    same = [stage for stage in STAGES.values() if script(stage) == script(STAGES[name])]
    assert unlisted_params(same) == set()


def test_a_key_that_is_not_listed_is_named():
    """Taken away, or replaced by that of one dataset."""
    stage = STAGES["invariance"]
    for taken in ("invariance.magnitudes", "invariance.num_images", "probe.${item.dataset}", "random_seed"):
        lacking = deepcopy(stage) | {"params": [key for key in stage["params"] if key != taken]}
        assert unlisted_params([lacking]) == {taken}
    one = ["probe.photos" if key == "probe.${item.dataset}" else key for key in STAGES["probe"]["params"]]
    assert unlisted_params([deepcopy(STAGES["probe"]) | {"params": one}]) == {"probe.${item.dataset}"}


@pytest.mark.parametrize("name", STAGES)
def test_what_a_command_takes_from_params_is_listed(name: str):
    """`${unlabeled}` in a command is the param `unlabeled`, and a download depends on the source of its dataset."""
    stage = STAGES[name]
    assert set(re.findall(r"\$\{(?!item\.)([^}]*)\}", stage["cmd"])) <= set(map(str, stage["params"]))
    if script(stage) == Path("stages/download.py"):
        assert f"sources.{stage['cmd'].split()[-1]}" in stage["params"]


def test_the_check_reads_all_of_params():
    """A change of any value checks all of them again."""
    assert STAGES["check"]["params"] == [{"params.yaml": None}]


@pytest.mark.parametrize("name", STAGES)
def test_a_program_passes_the_random_seed_of_params_on(name: str):
    """Nothing is drawn from a number that stands in a program."""
    given = [
        node.value
        for node in ast.walk(tree(script(STAGES[name])))
        if isinstance(node, ast.keyword) and node.arg == "random_seed"
    ]
    assert all(ast.unparse(value) == "settings.random_seed" for value in given)


# The figures are drawn from all runs of the pipeline, so they are no stage of it.
PROGRAMS = sorted({script(stage).stem for stage in STAGES.values()} | {"figures", "sync"})


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_answers_at_once(program: str):
    """`--help` says what becomes what in less than a second, and imports neither torch nor mlflow."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"stages.{program}", "--help"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in ended.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint({"torch", "mlflow", "numpy", "pydantic"})
    # Processor time, so that other work on the machine does not count.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert f"stages.{program}" in ended.stdout
    assert "Usage" in ended.stdout
