"""DVC's cache: where it is, and whether what it holds is what its names say."""

import json
from pathlib import Path
from typing import Any

from exemplar.errors import UserError
from exemplar.io import foreign
from exemplar.io.provenance import whole_digest
from exemplar.io.sources import digest


def cache_folder(root: Path) -> Path:
    """DVC's cache, where its configuration of the repository, the user or the system puts it."""
    from dvc.config import Config, ConfigError

    try:
        return Path(Config(dvc_dir=str(root / ".dvc"))["cache"].get("dir") or root / ".dvc" / "cache")
    except ConfigError as error:
        raise UserError(
            f"DVC's configuration cannot be read ({error}); correct .dvc/config or .dvc/config.local"
        ) from None


def cached(cache: Path, md5: str) -> Path:
    """Where DVC keeps an object; those of folders end in `.dir`."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def members(cache: Path, md5: str) -> list[str]:
    """The objects that a folder's object lists; none for a file, and none where the list cannot be read."""
    if not md5.endswith(".dir"):
        return []
    try:
        entries: list[dict[str, Any]] = json.loads(foreign.read(cached(cache, md5)))
        return [whole_digest(entry["md5"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def is_whole(path: Path, md5: str) -> bool:
    """Whether a file is there and has this digest."""
    return path.is_file() and digest(path) == md5.removesuffix(".dir")
