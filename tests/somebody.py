"""What a user without root's rights may do, also where root runs the tests."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_somebody() -> Iterator[Path]:
    """A folder of a user without root's rights, whose rights the block has."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        user = os.geteuid() or 65_534
        before = os.geteuid()
        os.seteuid(user)
        try:
            yield Path(name)
        finally:
            os.seteuid(before)
