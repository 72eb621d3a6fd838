"""Room on the disk, asked for before it is used."""

import shutil
from pathlib import Path

from exemplar.errors import UserError


def require_space(folder: Path, *, needed_bytes: int) -> None:
    """Raise UserError where the disk of `folder` has less than `needed_bytes` free."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise UserError(
            f"no space in {folder}: {needed_bytes / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free; "
            "free some and run again"
        )
