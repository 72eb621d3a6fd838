"""Sources of files, URLs or paths, and the digest that identifies a file or a folder."""

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from exemplar.errors import UserError, clean, public_url
from exemplar.io.trees import is_picture, is_shard, look


def local_path(source: str) -> Path | None:
    """The path that a source names, None for a URL; raises UserError for what is neither."""
    if "\0" in source or "%00" in source:
        raise UserError(f"{shown(source)!r} has a character of value 0, which no path and no URL can hold")
    scheme, separator, rest = source.partition("://")
    if not separator:
        try:
            return Path(source).expanduser()
        except RuntimeError:
            raise UserError(f"{source!r}: no home folder is known for it; expected an absolute path") from None
    if scheme.lower() in ("http", "https", "s3", "gs"):
        return None
    if scheme.lower() == "file" and rest.startswith(("/", "localhost/")):
        return Path(url2pathname(urlsplit(source).path))
    expected = "http://..., https://..., s3://..., gs://..., file:///... or a path"
    raise UserError(f"cannot fetch {shown(source)!r}; expected {expected}")


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of this name, which may be too long for one."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def shown(source: str) -> str:
    """The source as messages show it: without user name, password and query."""
    return public_url(source) if "://" in source else clean(source)


def digest(path: Path) -> str:
    """The md5 of a file, or of a folder: of the names and digests of the files in it but for those passed over."""
    return digest_of_files(path, look(path).files) if path.is_dir() else digest_of_file(path)


def source_digest(path: Path) -> str:
    """The md5 by which a source is known: of a folder, that of its pictures and tars, or of all files if none is one.

    A note, a thumbnail or a system's file beside pictures changes nothing of the set that is made of them.
    """
    if not path.is_dir():
        return digest_of_file(path)
    files = look(path).files
    return digest_of_files(path, [name for name in files if is_picture(name) or is_shard(name)] or files)


def digest_of_file(path: Path) -> str:
    """The md5 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest_of_files(folder: Path, names: Sequence[str]) -> str:
    """The md5 of the names and digests of some files in a folder."""
    lines = [os.fsencode(name) + b"\0" + digest_of_file(folder / name).encode() for name in names]
    return hashlib.md5(b"\n".join(lines), usedforsecurity=False).hexdigest()
