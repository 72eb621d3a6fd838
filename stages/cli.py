"""How every stage is started: a typer program that ends a user's mistake with one line and no traceback."""

import errno
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any

import typer

from exemplar.errors import UserError, say
from exemplar.runtime.signals import sigterm_raises
from exemplar.runtime.streams import make_unfailing

IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)  # something else than what is made there
MADE = (
    "data/parts",
    "data/unlabeled",
    "data/labeled",
    "data/surrogate",
    "data/encoders",
    "results",
)  # what stages write
INTERRUPTED, TERMINATED = 130, 143  # the shell's statuses for Ctrl-C and SIGTERM


def start(command: Callable[..., None]) -> None:
    """Run a command with the arguments of the shell; exit status 1 and `error: ...` on stderr for a UserError."""
    make_unfailing("stdout", "stderr")
    os.environ["MPLBACKEND"] = "agg"  # whoever starts a stage in a notebook hands down that of its own installation
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(interruptible(command))
    try:
        app()
    except UserError as error:
        fail(str(error))
    except (MemoryError, RuntimeError) as error:
        from exemplar.runtime.device import is_lack_of_memory

        if not is_lack_of_memory(error):
            raise
        advice = "close other programs, ask for less in params.yaml, or set compute.device to 'cpu' if it was a GPU's"
        fail(f"there is not enough memory for this work; {advice}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, *IN_THE_WAY):
            raise
        advice = "move it elsewhere" if error.errno in IN_THE_WAY else "make room or change its permissions"
        fail(f"{error.filename or 'the output'} cannot be written: {error.strerror}; {advice}")


def require_apart(sources: Mapping[str, Any]) -> None:
    """Raise UserError for a source, of all sections of `sources`, that lies where stages write: it would be removed."""
    from exemplar.io import provenance
    from exemplar.io.sources import local_path, shown

    root = provenance.user_repository().resolve()
    for name, source in sources.items():
        for url in filter(None, (source.url, *source.mirrors)):
            place = None
            with suppress(UserError):  # whoever fetches it says what is wrong with an address
                place = local_path(url)
            lies_in = os.path.realpath(place) if place else ""
            inside = [made for made in MADE if f"{lies_in}/".startswith(f"{os.path.realpath(root / made)}/")]
            if inside:
                raise UserError(
                    f"params.yaml: sources.{name} names {shown(url)}, which lies in {inside[0]}, where stages remove "
                    "all that was there before; move it elsewhere"
                )


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which Ctrl-C and SIGTERM end with one line after what must be closed is closed."""

    @wraps(command)
    def run(*arguments: object, **named: object) -> None:
        try:
            with sigterm_raises():
                command(*arguments, **named)
        except KeyboardInterrupt:
            say_interrupted()
            sys.exit(INTERRUPTED)
        except SystemExit as end:
            if end.code == TERMINATED:
                say_interrupted()
            raise

    return run


def say_interrupted() -> None:
    """Tell that nothing has to be repaired."""
    say("interrupted; the same command goes on from what was kept")


def fail(message: str) -> None:
    """Say what was wrong on one line and leave."""
    say(f"error: {message}")
    sys.exit(1)
