"""What lets the measurements of a GPU run with the core dependencies alone.

The surrogate set and the probe import pydantic for the checks of params.yaml, none of which is run here.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

NAMES = ("AfterValidator", "Field", "TypeAdapter", "ValidationError")


class Unchecked(Exception):  # noqa: N818  # it stands in for a type of error too
    """Stands in for each of pydantic's names: takes anything, checks nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()


def allow_lack_of_pydantic() -> None:
    """Where pydantic is not installed, let this process import what needs it for its types alone."""
    if find_spec("pydantic") is None:
        stand_in = ModuleType("pydantic")
        for name in NAMES:
            setattr(stand_in, name, Unchecked)
        sys.modules["pydantic"] = stand_in


def call(module: str, name: str, *arguments: object) -> object:
    """Call a function of a module that is imported only here: what a fresh process runs."""
    allow_lack_of_pydantic()
    return getattr(import_module(module), name)(*arguments)
