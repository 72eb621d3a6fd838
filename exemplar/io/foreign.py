"""Files that anybody may have written, read up to a length, and YAML of which no line stands for a million values."""

from pathlib import Path

MOST_BYTES = 1 << 25  # of a record of a stage
MOST_HEADER_BYTES = 1 << 20  # of an encoder's file; those of the paper's networks have 2 kB
MOST_VALUES = 100_000  # of a YAML document, in which an alias counts as often as it is used


def read(path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file; raises ValueError where there are more than `most_bytes`, and OSError as usual.

    A pipe or a device, which might never end or never begin, is none: a ValueError too.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("it is no file but a pipe, a socket or a device")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    return content


def require_header(path: Path) -> None:
    """Raise ValueError for a safetensors file whose header is longer than any encoder's; its library reads 100 MB."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes; at most {MOST_HEADER_BYTES:,} are read")


def load_yaml(content: bytes) -> object:
    """What a YAML 1.2 document says, where 1e-4 is a number; raises ValueError for none, and for too many values."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found: object = YAML(typ="safe", pure=True).load(content)
    except (YAMLError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(said(error)) from None
    if has_more_values(found, MOST_VALUES):
        raise ValueError(f"it has more than {MOST_VALUES:,} values, where an alias counts as often as it is used")
    return found


def said(error: Exception) -> str:
    """What YAML's reader found and where, without the piece of the text that it would quote, cut at any place."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return " ".join(f"{getattr(error, 'problem', None) or error}{where}".split())


def has_more_values(tree: object, most: int) -> bool:
    """Whether a tree of dictionaries and lists has more nodes than this; it is left as soon as that is known."""
    seen, waiting = 1, [tree]
    while waiting and seen <= most:
        node = waiting.pop()
        inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
        seen += len(inner)
        waiting += inner
    return seen > most
