"""params.yaml -> Params, or one line that says what is wrong in it."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exemplar.errors import UserError
from exemplar.io import foreign
from exemplar.params.mistakes import explain
from exemplar.params.schema import Params

PARAMS = Path("params.yaml")
MOST_BYTES = 1 << 18  # the published file has 14 kB


def load_params(path: Path = PARAMS) -> Params:
    """Read and check everything in params.yaml.

    Raises UserError with the first mistake: its key, its value, what was expected.
    """
    content = load_yaml(path)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Params)}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def load_yaml(path: Path = PARAMS) -> dict[Any, Any]:
    """The mapping in a YAML 1.2 file, where 1e-4 is a number. Raises UserError where the file is no such mapping."""
    try:
        content = foreign.load_yaml(foreign.read(path, most_bytes=MOST_BYTES))
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); run from the root of the repository") from None
    except ValueError as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}; expected a mapping of sections")
    return content
