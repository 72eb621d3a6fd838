"""Which file of this repository imports which, read from the syntax and without running anything."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    file.relative_to(ROOT)
    for package in ("exemplar", "stages")
    for file in (ROOT / package).rglob("*.py")
    if file.name != "__init__.py"
)
# They carry numbers and never make them, so that dvc.yaml leaves them out; but for what decides which files are a set.
EXCUSED, WATCHED = ("errors.py", "io", "runtime", "params", "tracking"), Path("exemplar/io/trees.py")


def package(file: Path) -> str:
    """The package of a file of exemplar/, or its own name where it stands at the top; `stages` for a program."""
    return file.parts[0] if file.parts[0] == "stages" else file.parts[1]


def is_excused(file: Path) -> bool:
    """Whether no stage depends on a file."""
    return file != WATCHED and (package(file) in EXCUSED or file == Path("stages/cli.py"))


def tree(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def names(file: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere, each perhaps a module and perhaps something inside one."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imported(file: Path) -> set[Path]:
    """The files of this repository among them."""
    return {path for name in names(file) if (path := Path(*name.split(".")).with_suffix(".py")) in MODULES}


def closure(*files: Path) -> set[Path]:
    """The files and all that they import, directly or not; what dvc.yaml leaves out is not entered."""
    found, waiting = set[Path](), set(files)
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= {other for other in imported(file) if not is_excused(other)} - found
    return found


@cache
def strings(file: Path) -> set[str]:
    """The texts that a file works with, parts of f-strings among them, docstrings not."""
    nodes = list(ast.walk(tree(file)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return {node.value for node in constants if isinstance(node.value, str)}
