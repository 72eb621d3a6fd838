"""params.yaml -> Params, or one line that says what is wrong in it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exemplar.errors import UserError
from exemplar.io import foreign, provenance
from exemplar.io.sources import local_path, shown
from exemplar.params.mistakes import explain
from exemplar.params.schema import Params

PARAMS = Path("params.yaml")
MADE = ("data/unlabeled", "data/labeled", "data/surrogate", "data/encoders", "results")  # what stages write
MOST_BYTES = 1 << 18  # the published file has 14 kB


def load_params(path: Path = PARAMS) -> Params:
    """Read and check everything in params.yaml.

    Raises UserError with the first mistake: its key, its value, what was expected.
    """
    content = load_yaml(path)
    try:
        params = Params.model_validate(content)
        require_apart(params)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Params)}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return params


def require_apart(params: Params) -> None:
    """Raise UserError for a source in a folder of the repository that stages write, and which is emptied before."""
    root = provenance.user_repository().resolve()
    for name, source in params.sources.items():
        for url in filter(None, (source.url, *source.mirrors)):
            place = None
            with suppress(UserError):  # whoever fetches it says what is wrong with an address
                place = local_path(url)
            for made in MADE if place else ():
                if place.resolve().is_relative_to(root / made):
                    raise UserError(
                        f"sources.{name} names {shown(url)}, which lies in {made}, where stages remove all that was "
                        "there before; move it elsewhere"
                    )


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
