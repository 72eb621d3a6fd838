"""What params.yaml can name: a dataset or a method is a file that has a certain line, read without running it."""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exemplar.params.mistakes import shortened

PACKAGE = Path(__file__).parents[1]
METHOD, WEIGHTLESS = r"^def fit\(", r"\bPixels\b"
MOST = 1_000_000  # of a dataset's options; of what they mean, the dataset says more
KINDS = {"int": "a whole number", "float": "a finite number", "bool": "true or false"}


def names_in(package: str, *, having: str) -> list[str]:
    """The names that a package offers: a dataset or a method is the name of a file that has a certain line."""
    files = (PACKAGE / package).glob("*.py")
    return sorted(file.stem for file in files if re.search(having, file.read_text(encoding="utf-8"), re.MULTILINE))


def options_of(dataset: str) -> dict[str, str]:
    """The options that a dataset takes, by their type: the keywords of its functions."""
    tree = ast.parse((PACKAGE / "datasets" / f"{dataset}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("write_")]
    wanted = {each.arg: each.annotation for function in functions for each in function.args.kwonlyargs}
    return {name: ast.unparse(kind) for name, kind in wanted.items() if kind}


def keys_of(method: str) -> list[str]:
    """The keys of a method's own section: the fields of the class `Options` in its file."""
    tree = ast.parse((PACKAGE / "methods" / f"{method}.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Options"]
    fields = [field for node in classes for field in node.body if isinstance(field, ast.AnnAssign)]
    return [ast.unparse(field.target) for field in fields]


def require_keys(method: str, section: Mapping[str, object]) -> None:
    """Raise ValueError unless a section has the keys that its method takes; values are checked with its file."""
    expected, where = keys_of(method), f"tasks.{method}"
    listed = ", ".join(expected) or "no keys, so {}"
    for key, value in section.items():
        if key not in expected:
            raise ValueError(f"{where}.{key} is no known key (its value is {shortened(value)}); expected {listed}")
    for key in expected:
        if key not in section:
            raise ValueError(f"{where}.{key} is missing; expected {listed}")


def require_made(methods: Sequence[str], listed: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError where other lists than `methods` name encoders that are not made; all such lists are told."""
    lacking = {where: names for where, names in listed.items() if not set(names) <= set(methods)}
    if not lacking:
        return
    unmade = dict.fromkeys(name for names in lacking.values() for name in names if name not in methods)
    left = {where: [name for name in names if name in methods] for where, names in lacking.items()}
    if left.get("invariance") == []:  # it takes one at least
        left["invariance"] = [methods[0]]
    typed = " ".join(f"-S '{where}.methods=[{','.join(names)}]'" for where, names in left.items())
    raise ValueError(
        f"{' and '.join(f'{where}.methods' for where in lacking)} name{'s' * (len(lacking) == 1)} "
        f"{', '.join(unmade)}, of which no encoder is made; add {typed}, or add to methods what is missing there"
    )


def is_of(kind: str, value: object) -> bool:
    """Whether a value has the type of an option; a whole number is a number, too."""
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    return type(value).__name__ == kind


def require_options(dataset: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError unless the options are those that the dataset takes, each of its type."""
    expected, where = options_of(dataset), f"sources.{dataset}.options"
    for key in options:
        if key not in expected:
            raise ValueError(f"{where}.{key} is no known key; expected {', '.join(expected) or 'no options'}")
    for key, kind in expected.items():
        if key not in options:
            raise ValueError(f"{where}.{key} is missing; expected {', '.join(expected)}")
        if not is_of(kind, options[key]):
            raise ValueError(f"{where}.{key} {shortened(options[key])}: expected {KINDS[kind]}")
        if kind != "bool" and options[key] > MOST:
            raise ValueError(f"{where}.{key} {shortened(options[key])}: expected a number of at most {MOST:,}")
