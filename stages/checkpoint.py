"""Where a stage keeps what it needs to go on after a kill: outside its outputs, which DVC deletes before a run."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from exemplar import provenance


def key(settings: Mapping[str, object], read: list[Path]) -> str:
    """The digest of parameters, inputs and code: whatever changes the result starts from the beginning."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(json.dumps(provenance.read_tags(read), sort_keys=True).encode())
    for file in sorted(Path(provenance.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


@contextmanager
def place(stage: str, *, settings: Mapping[str, object], read: list[Path]) -> Iterator[Path]:
    """The path of a checkpoint in the user's own repository, also in a queued run; removed when the block succeeds."""
    path = provenance.user_repository() / ".checkpoints" / f"{stage}-{key(settings, read)}.pt"
    path.parent.mkdir(exist_ok=True)
    yield path
    path.unlink(missing_ok=True)
