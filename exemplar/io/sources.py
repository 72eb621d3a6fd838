"""Sources of files, URLs or paths, what lies in a folder, and the digest that identifies a file or a tree."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from exemplar.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm", ".pbm")
HIDDEN, NOWHERE = "hidden", "links that lead nowhere"
AGAIN, NO_FILE = "links to folders that are read already", "pipes, sockets or devices"
# What systems put beside pictures: folders of thumbnails and of waste, small files of a window's looks.
SYSTEM_FOLDERS = (
    "@eadir",
    "@tmp",
    "@recycle",
    "#recycle",
    "#snapshot",
    "__macosx",
    "$recycle.bin",
    "lost+found",
    "system volume information",
)
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")


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
    """The md5 of a file, or of a folder: of the names and digests of the files in it but for those passed over."""
    return digest_of_files(path, look(path).files) if path.is_dir() else digest_of_file(path)


def source_digest(path: Path) -> str:
    """The md5 by which a source is known: of a folder, that of its pictures, or of all files where none is a picture.

    A note, a thumbnail or a system's file beside pictures changes nothing of the set that is made of them.
    """
    if not path.is_dir():
        return digest_of_file(path)
    files = look(path).files
    return digest_of_files(path, [name for name in files if is_picture(name)] or files)


def digest_of_file(path: Path) -> str:
    """The md5 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest_of_files(folder: Path, names: Sequence[PurePath]) -> str:
    """The md5 of the names and digests of some files in a folder."""
    lines = [os.fsencode(name) + b"\0" + digest_of_file(folder / name).encode() for name in names]
    return hashlib.md5(b"\n".join(lines), usedforsecurity=False).hexdigest()


def is_picture(name: PurePath) -> bool:
    """Whether a file's suffix is that of a picture that is read."""
    return name.suffix.lower() in PICTURES


@dataclass(frozen=True)
class Tree:
    """All that lies in and below a folder, relative to it: the files in the order of their names, and what is no file.

    `passed_over` has the cause for each path that is not among the files: hidden, a system's, a link to nothing, a link
    to a folder that was read already, or neither file nor folder.
    """

    files: list[PurePath] = field(default_factory=list)
    passed_over: dict[PurePath, str] = field(default_factory=dict)

    def add(self, name: PurePath, cause: str) -> None:
        """Note a file, or with a cause what is passed over."""
        if cause:
            self.passed_over[name] = cause
        else:
            self.files.append(name)


def look(folder: Path) -> Tree:
    """Look through a folder, through linked folders too, each folder once; hidden files and a system's are passed over.

    Raises OSError, which names the place, for a folder that cannot be opened.
    """
    tree, seen = Tree(), set[tuple[int, int]]()
    folders: list[tuple[PurePath, str]] = [(PurePath(), "")]
    links: list[PurePath] = []
    while folders or links:  # links come last, so that none of them takes the pictures of a real folder
        place, cause = folders.pop() if folders else (links.pop(), "")
        status = (folder / place).stat()
        if not cause and (status.st_dev, status.st_ino) in seen:
            tree.passed_over[place] = AGAIN
            continue
        if not cause:
            seen.add((status.st_dev, status.st_ino))
        for name in names(folder, place, cause, tree):
            reason = cause or cause_of(folder, name)
            linked = (folder / name).is_symlink()
            if not (folder / name).is_dir() or (reason and linked):
                tree.add(name, reason)
            elif linked:
                links.append(name)
            else:
                folders.append((name, reason))
        links.sort(reverse=True)
    tree.files.sort()
    return tree


def names(folder: Path, place: PurePath, cause: str, tree: Tree) -> list[PurePath]:
    """What lies in one folder; one that cannot be opened counts as passed over where it would have been anyway."""
    try:
        return sorted(place / path.name for path in (folder / place).iterdir())
    except OSError:
        if not cause:
            raise
        tree.passed_over[place] = cause
        return []


def cause_of(folder: Path, name: PurePath) -> str:
    """Why a file or a folder is passed over; empty where it is not."""
    low = name.name.lower()
    if low.startswith("."):
        return HIDDEN
    if low in SYSTEM_FOLDERS or low in SYSTEM_FILES:
        return f"of the system ({name.name.strip()})"
    path = folder / name
    if path.is_dir() or path.is_file():
        return ""
    return NO_FILE if path.exists() else NOWHERE
