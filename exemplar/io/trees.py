"""What lies in a folder: which files there are, in their order, which of them are pictures, and what is passed over.

It decides what a set of pictures consists of, so that the stages which read one depend on it, alone of this package.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePath

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


def is_picture(name: PurePath) -> bool:
    """Whether a file's suffix is that of a picture that is read."""
    return name.suffix.lower() in PICTURES


def is_shard(name: PurePath) -> bool:
    """Whether a file's suffix is that of a tar, which may hold pictures."""
    return name.suffix.lower() == ".tar"


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
