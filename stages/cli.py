"""How every stage is started: a typer program that ends a user's mistake with one line and no traceback."""

import errno
import sys
from collections.abc import Callable

import typer

from exemplar.errors import UserError


def start(command: Callable[..., None]) -> None:
    """Run a command with the arguments of the shell; exit status 1 and `error: ...` on stderr for a UserError."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app()
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        fail(
            f"{error.filename or 'the output'} cannot be written: {error.strerror}; make room or change its permissions"
        )


def fail(message: str) -> None:
    """Say what was wrong on one line, also where a quoted library took several, and leave."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)
