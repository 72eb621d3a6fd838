"""Finished parts of a long work, kept in a folder until the whole is done: a kill costs the part that it interrupts."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from exemplar.atomic import replacing
from exemplar.errors import UserError


def once(folder: Path | None, name: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever JSON can hold
    """What `make` returns, made now or kept in `folder` under this name by an earlier run; arrays come back as lists.

    Without a folder nothing is kept. Raises UserError for a file that is not as it was written.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.json"
    if not path.exists():
        content = json.dumps(make(), default=np.ndarray.tolist).encode()
        with replacing(path) as temporary:
            temporary.write_bytes(b"%08x\n%s" % (zlib.crc32(content), content))
    checksum, _, content = path.read_bytes().partition(b"\n")
    if checksum != b"%08x" % zlib.crc32(content):
        raise UserError(f"cannot read {path}: its checksum differs; remove {path.parent} to do its work again")
    return json.loads(content)
