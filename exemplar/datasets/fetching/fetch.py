"""A verified local copy of a dataset's archive, whatever happens on the way to it."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from exemplar import errors
from exemplar.datasets.fetching.remote import copy_folder, is_remote_folder
from exemplar.datasets.fetching.transfer import BLOCK_BYTES, TransferError, WrongDigestError, append_missing
from exemplar.errors import UserError, reason
from exemplar.io.atomic import flush_to_disk
from exemplar.io.sources import digest, local_path, shown, source_digest

NOT_TOLD_YET = "0" * 32  # the md5 of params.yaml for a source that is the user's own


class Patience(NamedTuple):
    """How often a source is asked in vain, how long the first pause is, how long a server may be silent."""

    attempts: int
    pause_seconds: float
    timeout_seconds: float


def fetch(
    source_urls: Sequence[str],
    *,
    md5: str | None,
    folder: Path,
    section: str = "",
    require_usable: Callable[[Path], None] | None = None,
    attempts: int = 6,
    pause_seconds: float = 2.0,
    timeout_seconds: float = 60.0,
) -> Path:
    """Return a local file whose digest is `md5`, from the first of `source_urls` that gives it.

    A source is an http(s) URL, a file:// URL or a path, of a folder too, or a folder in an object store (s3://, gs://)
    or on a web server (https://.../). What is local is verified and used where it lies. What comes over the network is
    kept in `folder` under its digest: `<md5>` once it is whole, `<md5>.part` until then, so that
    any later call goes on at the byte where this one ended. A source is given up after `attempts` in a row that brought
    nothing; the pauses between them double from `pause_seconds`. Raises UserError where no source gives the file.

    Where the md5 is still the zeros of the published params.yaml, the error says what to type for that `section`, after
    `require_usable` has raised its own where the source gives nothing of use.
    """
    patience = Patience(attempts, pause_seconds, timeout_seconds)
    if md5 is None or not re.fullmatch("[0-9a-f]{32}", md5):
        raise UserError(f"the md5 {md5!r} is no digest; expected 32 hexadecimal digits in lower case")
    failures: list[str] = []
    for source in source_urls:
        if failures:
            say(f"{failures[-1]}; trying the next source")
        local = local_path(source)
        try:
            if local:
                return verified(local, md5)
            with kept_in(folder), only_one(folder / f"{md5}.lock"):
                if is_remote_folder(source):
                    return copy_folder(source, md5, folder)
                return download(source, md5, folder, patience)
        except TransferError as failure:
            if section and md5 == NOT_TOLD_YET and isinstance(failure, WrongDigestError):
                if require_usable:
                    require_usable(failure.path)
                told = f"-S {section}.md5={failure.actual} (the md5 of {local or shown(source)})"
                raise UserError(f"{section}.md5 is not told yet; add {told}") from None
            failures.append(f"{local or shown(source)}: {failure}")
    raise UserError(
        f"no source gave what has the md5 {md5}: {'; '.join(failures) or 'none is named'}; "
        "correct url, mirrors or md5 under `sources` in params.yaml"
    )


def verified(path: Path, md5: str) -> Path:
    """Return `path` if its content has this digest; raises TransferError if not."""
    try:
        actual = source_digest(path)
    except OSError as error:
        inner = f"{error.filename}: " if error.filename and Path(error.filename) != path else ""
        raise TransferError(f"it cannot be read ({inner}{error.strerror})") from None
    if actual != md5:
        raise WrongDigestError(path, actual, md5)
    return path


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Make `folder`; whatever the disk refuses inside the block becomes one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"cannot keep a download in {folder} ({reason(error)}); what has come stays there") from None


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the lock falls with its holder, however that one ends."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that fetches the same file ({path})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def download(url: str, md5: str, folder: Path, patience: Patience) -> Path:
    """Complete the partial file of this digest from `url` and give it its name; raises TransferError if not."""
    whole, partial = folder / md5, folder / f"{md5}.part"
    if whole.exists():
        if digest(whole) == md5:
            return whole
        say(f"{whole} has changed on the disk since it came; it is kept as {set_aside(whole)} and fetched again")
    if partial.is_symlink():
        raise UserError(f"{partial} is no file of its own, so that nothing is written there; move it elsewhere")
    partial.touch()
    if digest(partial) != md5:  # equal where a process ended between the last byte and the name
        complete(url, partial, md5, patience)
    flush_to_disk(partial)
    return partial.replace(whole)


def complete(url: str, partial: Path, md5: str, patience: Patience) -> None:
    """Append to `partial` until its digest is `md5`, through all interruptions that each bring something."""
    failed, inherited = 0, partial.stat().st_size > 0
    while True:
        before = partial.stat().st_size
        try:
            append_missing(
                url, partial, label=f"fetch {Path(shown(url)).name}", timeout_seconds=patience.timeout_seconds
            )
            if (actual := digest(partial)) == md5:
                return
            # what an earlier call began may be what is wrong: such a file has one more chance, from its first byte
            lasting, inherited = not inherited, False
            aside = set_aside(partial)
            partial.touch()
            raise WrongDigestError(aside, actual, md5, kept=True, lasting=lasting)
        except TransferError as failure:
            failed = 1 if partial.stat().st_size - before >= BLOCK_BYTES else failed + 1
            if failure.lasting or failed >= patience.attempts:
                raise
            pause = patience.pause_seconds * 2 ** (failed - 1)
            say(f"{shown(url)}: {failure}; asking again in {pause:g} s")
        time.sleep(pause)


def set_aside(path: Path) -> Path:
    """Rename a file with a wrong digest after the digest that it has, and return its new name; one a source is kept."""
    for earlier in path.parent.glob(f"{path.stem}.wrong-*"):
        earlier.unlink()
    return path.rename(path.with_name(f"{path.stem}.wrong-{digest(path)}"))


def say(line: str) -> None:
    """Tell what goes on beside the progress bar."""
    errors.say(f"fetch: {line}")
