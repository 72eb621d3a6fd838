"""What the file of a method says of it in its docstring."""

import ast
from importlib.resources import files


def what_is(method: str) -> str:
    """A method in two words: how the docstring of its file begins."""
    return first_sentence(method).partition(":")[0] or method


def asks(method: str) -> str:
    """What a task asks and who asked it first: what the docstring of its file says behind the name."""
    return first_sentence(method).partition(": ")[2]


def first_sentence(method: str) -> str:
    """The first paragraph of the docstring of a method's file, on one line; empty for none."""
    file = files("exemplar.methods").joinpath(f"{method}.py")
    if not method.isidentifier() or not file.is_file():
        return ""
    return " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n\n")[0].split())
