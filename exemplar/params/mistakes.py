"""The first mistake in params.yaml as one line: the key, its value, what was expected."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError

from exemplar.errors import one_line
from exemplar.io.sources import shown

LONGEST_VALUE = 200
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
OWN_PART = "[key]"
LENGTHS = {"pca_log2_spread": 3}
# pydantic's kinds of errors, and what its users are told was expected
EXPECTATIONS = {
    "greater_than_equal": "a number of at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "a number of at most {le}",
    "less_than": "a number below {lt}",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "list_type": "a list, such as [a, b]",
    "tuple_type": "two numbers, [low, high]",
    "dict_type": "a section with keys of its own",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "dataclass_type": "a section with keys of its own",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} of them",
    "too_long": "no more than {max_length} entries",
}

Place = tuple[str | int, ...]


def explain(error: ValidationError, kind: type) -> str:
    """One line for the first of pydantic's findings about a model of this kind."""
    findings: list[Any] = error.errors(include_url=False)
    first = next((one for one in findings if one["type"] in UNKNOWN), findings[0])  # a misspelt key is missing, too
    place, value = first["loc"], shortened(first["input"])
    if first["type"] in UNKNOWN:
        return f"{named(place)} is no known key (its value is {value}); {advice(place, findings, kind)}"
    if first["type"] == "missing" and isinstance(place[-1], int):
        return f"{named(place[:-1])} {value}: too short; expected {LENGTHS.get(str(place[-2]), 2)} numbers"
    if first["type"] == "missing":
        return f"{named(place)} is missing; expected every key of the published params.yaml"
    quoted = "" if isinstance(first["input"], dict) and first["type"] == "value_error" else f" {value}"
    return f"{named(place)}{quoted}: {expectation(first)}" if place else expectation(first)


def named(place: Place) -> str:
    """A key of params.yaml, such as `datasets[0]` or `train.epochs`, without the part that pydantic adds."""
    parts = [f"[{part}]" if isinstance(part, int) else str(part) for part in place if part != OWN_PART]
    return ".".join(parts).replace(".[", "[")


def shortened(value: object) -> str:
    """A value as messages quote it: on one line of bounded length, secrets hidden before it is cut."""
    try:
        text = one_line(repr(shown(value) if isinstance(value, str) else value))
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "(a number of thousands of digits)"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."


def advice(place: Place, findings: list[Any], kind: type) -> str:
    """The missing key that resembles an unknown one; where none does, all keys of the section."""
    above, last = place[:-1], str(place[-1])
    missing = [str(one["loc"][-1]) for one in findings if one["type"] == "missing" and one["loc"][:-1] == above]
    known = missing or keys(kind, above)
    near = get_close_matches(last, known, 1) or [key for key in known if key.startswith(last)]
    return f"did you mean {named((*above, near[0]))}?" if near else f"expected {', '.join(known)}"


def keys(kind: Any, above: Place) -> list[str]:  # noqa: ANN401  # models, dataclasses and dictionaries of models
    """The keys of the section at a place in a model."""
    for part in above:
        fields = getattr(kind, "model_fields", None)
        kind = fields[str(part)].annotation if fields else get_args(kind)[-1]
    return list(getattr(kind, "model_fields", None) or kind.__dataclass_fields__)


def expectation(finding: dict[str, Any]) -> str:
    """What was expected: from the table above, or as our own check says it."""
    if expected := EXPECTATIONS.get(finding["type"]):
        return f"expected {expected.format(**finding.get('ctx', {}))}"
    text: str = finding["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
