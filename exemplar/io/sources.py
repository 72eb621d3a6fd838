"""Sources of files, URLs or paths, and the digest that identifies a file or a tree."""

import hashlib
import os
import re
from pathlib import Path, PurePath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from exemplar.errors import UserError


def local_path(source: str) -> Path | None:
    """The path that a source names, None for a URL; raises UserError for a URL of a kind that cannot be fetched."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return Path(source).expanduser()
    if scheme.lower() in ("http", "https"):
        return None
    if scheme.lower() == "file" and rest.startswith(("/", "localhost/")):
        return Path(url2pathname(urlsplit(source).path))
    raise UserError(f"cannot fetch {shown(source)!r}; expected http://..., https://..., file:///... or a path")


def shown(source: str) -> str:
    """The source as messages show it: without user name, password and query."""
    scheme, separator, rest = source.partition("://")
    return source if not separator else f"{scheme}://{re.split('[?#]', rest.rpartition('@')[2])[0]}"


def digest(path: Path) -> str:
    """The md5 of a file, or of a folder: of the names and digests of the files in it, hidden ones left out."""
    if path.is_dir():
        lines = [os.fsencode(name) + b"\0" + digest(path / name).encode() for name in visible_files(path)]
        return hashlib.md5(b"\n".join(lines), usedforsecurity=False).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def visible_files(folder: Path) -> list[PurePath]:
    """The files in a tree, relative to it and in the order of their names.

    Hidden files are left out, and links to folders are not followed.
    """
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if not any(part.startswith(".") for part in name.parts))
