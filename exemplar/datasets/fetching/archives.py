"""Archives read member by member, without unpacking anything to the disk, and folders that somebody unpacked."""

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from exemplar.datasets.fetching.unpacking import (
    BLOCK_BYTES,
    BZIP2,
    GZIP,
    MOST_UNPACKED_BYTES,
    XZ,
    ZIP,
    Measured,
    Stream,
    decompressed,
    first_bytes,
    iter_headers,
)
from exemplar.errors import UserError
from exemplar.io import contents
from exemplar.io.trees import look
from exemplar.runtime.progress import track

# what the libraries raise for content that cannot be read; RuntimeError stands for a zip that is encrypted
UNREADABLE = (
    OSError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)
EXPECTED = "expected a tar (plain or with gzip, bzip2 or xz), a zip or a folder that was unpacked from one"
CORRECT = "correct url and md5 of this set under `sources` in params.yaml"


@dataclass(frozen=True)
class Member:
    """A file in an archive, to be read before the next one is asked for."""

    archive: Path
    path: PurePosixPath
    size: int
    take: Callable[[int], bytes] | None
    seen: Callable[[], None]

    def blocks(self, block_bytes: int) -> Iterator[bytes]:
        """Its content in blocks of this length, the last perhaps shorter, of the stated size together."""
        if self.take is None:
            raise UserError(f"{self.archive}: {str(self.path)!r} is a link or a device and no file; refused")
        for start in range(0, self.size, block_bytes):
            wanted = min(block_bytes, self.size - start)
            with explained(self.archive):
                block = self.take(wanted)
                if len(block) < wanted:
                    raise EOFError("unexpected end of data")
            self.seen()
            yield block

    def read(self, *, most_bytes: int) -> bytes:
        """All of its content, which may not be larger than `most_bytes`."""
        if self.size > most_bytes:
            raise UserError(
                f"{self.archive}: {str(self.path)!r} claims {self.size:,} bytes; at most {most_bytes:,} were expected"
            )
        return b"".join(self.blocks(BLOCK_BYTES))


def members(archive: Path | None, *, inside: str = "") -> Iterator[Member]:
    """Go once through the files of an archive, in the order in which they lie there, or of a folder, in that of names.

    An archive is a tar, plain or with gzip, bzip2 or xz, or a zip, of the files themselves or of the one tar whose name
    without suffixes is `inside`. Raises UserError for one that is cut, corrupt, of another packing, or has members that
    climb out of it.
    """
    if archive is None:
        raise UserError("this set is read from an archive, but none was fetched; expected its entry under `sources`")
    if archive.is_dir():
        yield from in_folder(archive)
        return
    with ExitStack() as stack, explained(archive):
        raw = stack.enter_context(archive.open("rb"))
        progress = stack.enter_context(track(total=archive.stat().st_size, unit="B", label=f"read {archive.name}"))

        def seen() -> None:
            if ahead := raw.tell() - progress.done:
                progress.advance(ahead)

        if not first_bytes(raw).startswith(ZIP):
            yield from in_tar(archive, stack.enter_context(decompressed(raw)), seen)
            return
        package = stack.enter_context(zipfile.ZipFile(raw))
        wrapped = [info for info in package.infolist() if inside and is_tar_of(inside, PurePosixPath(info.filename))]
        if len(wrapped) > 1 or any(is_link(info) for info in wrapped):
            raise zipfile.BadZipFile(f"expected one file {wrapped[0].filename!r} in it")
        if wrapped:
            tar = stack.enter_context(decompressed(stack.enter_context(opened(package, wrapped[0]))))
            yield from in_tar(archive, tar, seen)
        else:
            yield from in_zip(archive, package, seen)


def in_folder(folder: Path) -> Iterator[Member]:
    """The files of a folder, named as in an archive of it."""
    tree = look(folder)
    root = PurePosixPath(folder.resolve().name)
    with track(total=len(tree.files), unit="files", label=f"read {folder.name}") as progress:
        for name in tree.files:
            with explained(folder / name), (folder / name).open("rb") as file:
                yield Member(folder, root / name, os.fstat(file.fileno()).st_size, file.read, lambda: None)
            progress.advance(1)


def in_tar(archive: Path, stream: Stream, seen: Callable[[], None]) -> Iterator[Member]:
    """The files of a tar, to its end, where a checksum is compared."""
    for tar, info in iter_headers(stream):
        path = inner_path(archive, info.name)
        if not info.isdir():
            content = tar.extractfile(info) if info.isreg() else None
            yield Member(archive, path, info.size, content.read if content else None, seen)
    while stream.read(BLOCK_BYTES):
        pass


def in_zip(archive: Path, package: zipfile.ZipFile, seen: Callable[[], None]) -> Iterator[Member]:
    """The files of a zip, which may not share bytes without an end."""
    allowance = [MOST_UNPACKED_BYTES]
    for info in package.infolist():
        path = inner_path(archive, info.filename)
        if not info.is_dir():
            with opened(package, info) as content:
                take = Measured(content, allowance=allowance).read
                yield Member(archive, path, info.file_size, None if is_link(info) else take, seen)


def opened(package: zipfile.ZipFile, info: zipfile.ZipInfo) -> Stream:
    """A file of a zip; raises BadZipFile for a packing that Python unpacks in unbounded memory."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("expected its files stored or deflated")
    return package.open(info)


def inner_path(archive: Path, name: str) -> PurePosixPath:
    """The path of a member, which may not lead out of the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive}: its member {name!r} climbs out of the archive; refused")
    return path


def is_link(info: zipfile.ZipInfo) -> bool:
    """Whether a member of a zip is a link."""
    return stat.S_ISLNK(info.external_attr >> 16)


def is_tar_of(name: str, path: PurePosixPath) -> bool:
    """Whether a path is that of the tar `name`, whatever it is packed with."""
    return path.name.partition(".")[0] == name and (".tar" in path.suffixes or path.suffix == ".tgz")


@contextmanager
def explained(archive: Path) -> Iterator[None]:
    """Turn what the libraries say of content that cannot be read into one line that names the archive."""
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{archive} {fault(archive, error)}; {CORRECT}") from None


def fault(archive: Path, error: Exception) -> str:
    """What is wrong with an archive: another packing by its name, a file that cannot be opened, or broken content."""
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read ({error.strerror})"
    with archive.open("rb") as raw:
        head = raw.read(tarfile.BLOCKSIZE)
    is_read = head.startswith((ZIP, GZIP, BZIP2, XZ)) or tarfile.POSIX_MAGIC[:5] in head
    if not is_read and (said := contents.described(head)):
        return f"{said}; {EXPECTED}"
    return f"is cut, corrupt or no archive ({error})"
