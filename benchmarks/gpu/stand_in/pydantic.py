"""Stands in for pydantic where it is not installed: `program` puts this folder behind all others on Python's path.

Worker processes get that path too. The surrogate set and the probe import pydantic for the checks of
params.yaml, none of which is run here.
"""


class Unchecked(Exception):  # noqa: N818  # it stands in for a type of error too
    """Stands in for each of pydantic's names: takes anything, checks nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()


AfterValidator = Field = TypeAdapter = ValidationError = Unchecked
