"""What lies in a folder: which files there are, in their order, which of them are pictures, and what is passed over.

It decides what a set of pictures consists of, so that the stages which read one depend on it, alone of this package.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm", ".pbm")
HIDDEN, NOWHERE = "hidden", "links that lead nowhere"
AGAIN, NO_FILE = "links to folders that are read already", "pipes, sockets or devices"
# What systems put beside pictures: folders of thumbnails and of waste, small files of a window's looks.
SYSTEM_FOLDERS = (
    "@eadir",
    "@__thumb",
    "@tmp",
    "@recycle",
    "#recycle",
    "#snapshot",
    "~snapshot",
    "@recently-snapshot",
    "__macosx",
    "$recycle.bin",
    "lost+found",
    "system volume information",
)
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")


def suffix_of(name: str) -> str:
    """The suffix of a file's name with its dot, in lower case, without what `PurePath` takes: seconds for a million."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if stem and suffix else ""


def is_picture(name: str) -> bool:
    """Whether a file's suffix is that of a picture that is read."""
    return suffix_of(name) in PICTURES


def is_shard(name: str) -> bool:
    """Whether a file's suffix is that of a tar, which may hold pictures."""
    return suffix_of(name) == ".tar"


@dataclass(frozen=True)
class Tree:
    """All that lies in and below a folder, relative to it: the files in the order of their names, and what is no file.

    The order is that of the parts of their paths. `passed_over` has the cause for each path that is not among the
    files: hidden, a system's, a link to nothing, a link to a folder that was read already, or neither file nor folder.
    """

    files: list[str] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, cause: str) -> None:
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
    folders, links = [("", "")], list[str]()
    while folders or links:  # links come last, so that none of them takes the pictures of a real folder
        place, cause = folders.pop() if folders else (links.pop(), "")
        status = (folder / place).stat()
        if not cause and (status.st_dev, status.st_ino) in seen:
            tree.passed_over[place] = AGAIN
            continue
        if not cause:
            seen.add((status.st_dev, status.st_ino))
        below = list[tuple[str, str]]()
        for entry in entries(folder, place, cause, tree):
            name = f"{place}/{entry.name}" if place else entry.name
            reason, linked = cause or cause_of(entry), entry.is_symlink()
            if not is_folder(entry) or (reason and linked):
                tree.add(name, reason)
            elif linked:
                links.append(name)
            else:
                below.append((name, reason))
        folders += sorted(below)
        links.sort(reverse=True)
    tree.files.sort(key=lambda name: name.replace("/", "\0"))  # as paths are ordered: part by part
    return tree


def entries(folder: Path, place: str, cause: str, tree: Tree) -> Iterator["os.DirEntry[str]"]:
    """What lies in one folder; one that cannot be opened counts as passed over where it would have been anyway."""
    try:
        found = os.scandir(folder / place)
    except OSError:
        if not cause:
            raise
        tree.passed_over[place] = cause
        return
    with found:
        yield from found


def cause_of(entry: "os.DirEntry[str] | Path") -> str:
    """Why a file or a folder is passed over; empty where it is not."""
    low = entry.name.lower()
    if low.startswith("."):
        return HIDDEN
    if low in SYSTEM_FOLDERS or low in SYSTEM_FILES:
        return f"of the system ({entry.name.strip()})"
    if is_folder(entry) or (Path(entry) if entry.is_symlink() else entry).is_file():
        return ""
    return NO_FILE if Path(entry).exists() else NOWHERE


def is_folder(entry: "os.DirEntry[str] | Path") -> bool:
    """Whether it is a folder or leads to one; what the system has told with its name is not asked again."""
    return (Path(entry) if entry.is_symlink() else entry).is_dir()  # of a link in a circle an entry raises an error
