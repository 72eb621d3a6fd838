"""A method's own section under `tasks`: what its file says that it takes."""

from collections.abc import Mapping
from importlib import import_module

from pydantic import ValidationError

from exemplar.errors import UserError
from exemplar.params.mistakes import explain
from exemplar.params.schema import Section


def load_options(method: str, section: Mapping[str, object]) -> Section | None:
    """The section of a method as its `Options`, its values checked; None for a method that takes none.

    Raises UserError with the first mistake: its key, its value, what was expected.
    """
    kind = getattr(import_module(f"exemplar.methods.{method}"), "Options", None)
    if kind is None:
        return None
    try:
        options: Section = kind.model_validate(dict(section), strict=True)
    except ValidationError as error:
        raise UserError(f"params.yaml: tasks.{method}.{explain(error, kind)}") from None
    return options
