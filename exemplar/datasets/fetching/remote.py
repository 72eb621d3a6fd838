"""A folder of pictures or shards in an object store, or behind a web server's list of files, copied through fsspec."""

import errno
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

from exemplar.datasets.fetching.transfer import TransferError, WrongDigestError
from exemplar.errors import UserError, one_line
from exemplar.io.atomic import remove
from exemplar.io.integrity import require_space
from exemplar.io.sources import source_digest
from exemplar.io.trees import is_picture, is_shard
from exemplar.runtime.progress import track

OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
AT_ONCE = 8  # files
SECONDS_TO_CONNECT, SECONDS_OF_SILENCE = 10, 60


def is_remote_folder(url: str) -> bool:
    """Whether a URL is that of a folder: in an object store, or on a web server where it ends with a slash."""
    return bool(re.match("(s3|gs)://", url)) or url.endswith("/")


def copy_folder(url: str, md5: str, folder: Path) -> Path:
    """The local copy of a remote folder whose pictures and shards have this digest, as `<md5>` in `folder`.

    What is there of it is not fetched again: a file counts as there once it has its name. Raises TransferError where it
    cannot be read or has another digest; the copy then has that one for its name.
    """
    whole, partial = folder / md5, folder / f"{md5}.part"
    if whole.is_dir() and source_digest(whole) == md5:
        return whole
    refuse_links(partial)
    with explained(url):
        import fsspec

        system, root = fsspec.url_to_fs(url, skip_instance_cache=True, **deadlines(url))
        # a web server's folder that cannot be listed would count as empty; of stores none is
        strict = {"on_error": "raise"} if url.startswith("http") else {}
        found: dict[str, dict[str, Any]] = system.find(root, detail=True, **strict)
    files = {name: about for name, about in found.items() if name != root}
    chosen = {name: about for name, about in files.items() if is_wanted(name)} or files
    if not chosen:
        raise TransferError("it has no files; expected a folder of pictures or of tar shards", lasting=True)
    missing = {name: partial / inner(name, root) for name in chosen if not (partial / inner(name, root)).exists()}
    sizes = {name: int(chosen[name].get("size") or 0) for name in missing}
    partial.mkdir(exist_ok=True)
    require_space(partial, needed_bytes=sum(sizes.values()))
    with (
        explained(url),
        ThreadPoolExecutor(AT_ONCE) as threads,
        track(total=sum(sizes.values()), unit="B", label=f"fetch {PurePosixPath(root).name}") as progress,
    ):
        stop = Event()
        futures = {name: threads.submit(copy, system, name, target, stop) for name, target in missing.items()}
        try:
            for name, future in futures.items():
                future.result()
                progress.advance(sizes[name])
        finally:
            stop.set()
            threads.shutdown(cancel_futures=True)
    actual = source_digest(partial)
    remove(folder / actual)
    partial.replace(folder / actual)
    if actual != md5:
        raise WrongDigestError(folder / actual, actual, md5, kept=True, lasting=True)
    return folder / md5


def refuse_links(partial: Path) -> None:
    """Raise UserError for a copy that was begun and is a link, or has one in it: a file would be written elsewhere."""
    for path in (partial, *partial.rglob("*")):
        if path.is_symlink():
            raise UserError(
                f"{path} is no file or folder of its own, so that nothing is written there; move it elsewhere"
            )


def is_wanted(name: str) -> bool:
    """Whether a file is one of those by which a folder is known."""
    return is_picture(name) or is_shard(name)


def inner(name: str, root: str) -> PurePosixPath:
    """The path of a file below the folder; raises TransferError for one that leads out of it."""
    path = PurePosixPath(name.removeprefix(root).lstrip("/"))
    if ".." in path.parts or not path.name:
        raise TransferError(f"its file {name!r} lies outside of it; refused", lasting=True)
    return path


def deadlines(url: str) -> dict[str, Any]:
    """How long a server may be silent: s3fs would wait for ten minutes, the others give five for a whole file."""
    if url.startswith("s3://"):
        silence = {"connect_timeout": SECONDS_TO_CONNECT, "read_timeout": SECONDS_OF_SILENCE}
        return {"config_kwargs": {**silence, "retries": {"max_attempts": 3}}}
    if url.startswith(("gs://", "http://", "https://")):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=SECONDS_TO_CONNECT, sock_read=SECONDS_OF_SILENCE)
        return {"requests_timeout": timeout} if url.startswith("gs://") else {"client_kwargs": {"timeout": timeout}}
    return {}


def copy(system: Any, name: str, target: Path, stop: Event) -> None:  # noqa: ANN401  # fsspec has no types
    """Copy one file, which has its name once it is whole; ends at the next block once it is to stop."""
    from fsspec.callbacks import Callback

    def go_on(*_: int, **__: int) -> None:
        if stop.is_set():
            raise InterruptedError(f"the copy of {name} was ended")

    target.parent.mkdir(parents=True, exist_ok=True)
    begun = target.with_name(f".{target.name}.part")
    system.get_file(name, str(begun), callback=Callback(hooks={"go on": go_on}))
    begun.replace(target)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Say on one line what the libraries of object stores raise, which is of many kinds."""
    try:
        yield
    except ImportError as error:
        needed = "'exemplar[remote]'" + " gcsfs" * url.startswith("gs://")
        raise TransferError(
            f"a package for it is not installed ({one_line(error)}); pip install {needed}", lasting=True
        ) from None
    except TransferError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise
        raise TransferError(f"it cannot be read ({one_line(error) or type(error).__name__})", lasting=True) from None
