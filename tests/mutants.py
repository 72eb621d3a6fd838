"""`make mutants`: change one operator or number of a module at a time, and see whether the module's tests notice.

Cosmic Ray makes the changes, in a copy of the tree; a sample of them is drawn, because each costs a run of the tests.
Every run is a fork of this process, which has imported the libraries: starting them takes longer than most tests.
"""

import argparse
import difflib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names
except ModuleNotFoundError:
    sys.exit("error: the package cosmic-ray is not installed; run make mutants, which installs it")

# Where numbers are decided, and the tests that are nearest to each.
TESTS = {
    "exemplar/datasets/splits.py": "tests/datasets/test_splits.py tests/probe/test_protocol.py",
    "exemplar/finetune.py": "tests/test_finetune.py",
    "exemplar/probe/features.py": "tests/probe/test_features.py tests/probe/test_soundness.py",
    "exemplar/probe/knn.py": "tests/probe/test_knn.py",
    "exemplar/probe/protocol.py": "tests/probe/test_protocol.py",
    "exemplar/surrogate/build.py": "tests/surrogate/test_build.py",
    "exemplar/surrogate/energy.py": "tests/surrogate/test_energy.py tests/surrogate/test_seeds.py",
    "exemplar/surrogate/rounds.py": "tests/surrogate/test_seeds.py",
    "exemplar/surrogate/seeds.py": "tests/surrogate/test_seeds.py",
    "exemplar/surrogate/transformation.py": "tests/surrogate/test_transformation.py",
    "exemplar/training/batchnorm.py": "tests/training/test_batchnorm.py tests/training/test_fast.py",
    "exemplar/training/labeled.py": "tests/training/test_labeled.py tests/test_finetune.py",
    "exemplar/training/muon.py": "tests/training/test_fast.py",
    "exemplar/training/schedule.py": "tests/training/test_loop.py",
}
LIBRARIES = ("torch", "torchvision", "scipy.ndimage", "scipy.stats", "sklearn.svm", "sklearn.neighbors")
# Of types (`Encoder | Pixels`) and decorators: a module that cannot be imported shows nothing about its tests.
LEFT_OUT = ("BitOr", "RemoveDecorator")
SECONDS = 200  # of processor time for a run; who takes longer runs for ever


def mutations(path: Path) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """For each place (line, column) that Cosmic Ray can change: the operators that do, and which occurrence it is.

    The bare star of a signature is no multiplication.
    """
    module, places = get_ast(path.read_text()), dict[tuple[int, int], list[tuple[str, int]]]()
    stars = {node.start_pos for node in ast_nodes(module) if node.parent and node.parent.type == "parameters"}
    for name in operator_names():
        if get_operator(name).arguments() or any(word in name for word in LEFT_OUT):
            continue
        positions = (start for node in ast_nodes(module) for start, _ in get_operator(name)().mutation_positions(node))
        for occurrence, start in enumerate(positions):
            if start not in stars:
                places.setdefault(start, []).append((name, occurrence))
    return places


def draw(modules: list[str], *, sample: int, random_seed: int) -> list[tuple[Path, str, int]]:
    """Some of all places, each with one of its changes, in the order of the modules."""
    dice = random.Random(random_seed)
    places = [(Path(module), changes) for module in modules for _, changes in sorted(mutations(Path(module)).items())]
    chosen = sorted(dice.sample(range(len(places)), min(sample, len(places))))
    print(f"{len(chosen)} of {len(places)} places in {len(modules)} modules", flush=True)
    return [(places[index][0], *dice.choice(places[index][1])) for index in chosen]


def pass_tests(files: list[str]) -> bool:
    """Whether these files of tests pass as the code stands."""
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=0", "-o", "addopts="]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        os._exit(int(pytest.main([*options, *files])))
    return os.waitpid(child, 0)[1] == 0


def survivors(drawn: list[tuple[Path, str, int]]) -> Iterator[str]:
    """The changes that no test notices, as diffs."""
    for number, (path, operator, occurrence) in enumerate(drawn, start=1):
        whole, began = path.read_text(), time.monotonic()
        changed = mutate_code(whole, get_operator(operator)(), occurrence)
        kept = path.stat()
        path.write_text(changed)
        survived = pass_tests(TESTS[str(path)].split())
        path.write_text(whole)
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # its compiled form is still right
        lines = difflib.unified_diff(whole.splitlines(), changed.splitlines(), str(path), operator, n=0, lineterm="")
        diff = "\n".join(lines)
        verdict = "SURVIVED" if survived else "caught"
        print(f"{number}/{len(drawn)} {verdict} in {time.monotonic() - began:.0f} s\n{diff}", flush=True)
        if survived:
            yield diff


def main() -> None:
    """Draw, run, count; nothing of the checkout itself is changed."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=40, help="how many changes are tried")
    parser.add_argument("--random-seed", type=int, default=0, help="which are drawn")
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="files out of the list above")
    given = parser.parse_args()
    for library in LIBRARIES:
        importlib.import_module(library)
    tree = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout.split("\0")
    with tempfile.TemporaryDirectory() as folder:
        for name in filter(os.path.isfile, tree):
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, Path(folder) / name)
        os.chdir(folder)
        sys.path[0] = folder
        drawn = draw(given.modules, sample=given.sample, random_seed=given.random_seed)
        files = sorted({file for path, _, _ in drawn for file in TESTS[str(path)].split()})
        if not pass_tests(files):
            sys.exit(f"error: the tests fail as the code is: {' '.join(files)}")
        sys.dont_write_bytecode = True
        alive = list(survivors(drawn))
    print(f"caught {len(drawn) - len(alive)} of {len(drawn)}; survivors:", *alive, sep="\n")


if __name__ == "__main__":
    main()
