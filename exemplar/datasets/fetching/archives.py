"""Archives read member by member, without unpacking anything to the disk."""

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath

from exemplar.errors import UserError
from exemplar.runtime.progress import track

BLOCK_BYTES = 1 << 20
# what the libraries raise for content that cannot be read; RuntimeError stands for a zip that is encrypted
UNREADABLE = (OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Header(tarfile.TarInfo):
    """A header that is read strictly: tarfile takes a broken one, or the end of a cut tar, for a proper end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        """Read one header of 512 bytes; raises ReadError, which ends the reading with an error, if it is none."""
        if buf and not any(buf):  # the block of zeros that ends a tar
            return super().frombuf(buf, encoding, errors)
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if header.size < 0 or (header.type in EXTENSIONS and header.size > BLOCK_BYTES):
            raise tarfile.ReadError("a header states an impossible size")  # tarfile would read it into memory whole
        return header


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
    """Go once through the files in a tar, plain or with gzip, in the order in which they lie there.

    A zip is taken for the wrapping of the tar whose name is `inside`. Raises UserError for an archive that is cut,
    corrupt or has members that climb out of it.
    """
    if archive is None:
        raise UserError("this set is read from an archive, but none was fetched; expected its entry under `sources`")
    with ExitStack() as stack, explained(archive):
        raw = stack.enter_context(archive.open("rb"))
        progress = stack.enter_context(track(total=archive.stat().st_size, unit="B", label=f"read {archive.name}"))
        stream = stack.enter_context(unwrapped(raw, inside))
        tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES, tarinfo=Header))

        def seen() -> None:
            if ahead := raw.tell() - progress.done:
                progress.advance(ahead)

        for info in tar:
            path = PurePosixPath(info.name)
            if path.is_absolute() or ".." in path.parts:
                raise UserError(f"{archive}: its member {info.name!r} climbs out of the archive; refused")
            if not info.isdir():
                content = tar.extractfile(info) if info.isreg() and not info.issparse() else None
                yield Member(archive, path, info.size, content.read if content else None, seen)
        while stream.read(BLOCK_BYTES):  # to its end, where gzip's checksum is compared
            pass


@contextmanager
def explained(archive: Path) -> Iterator[None]:
    """Turn what the libraries say of content that cannot be read into one line that names the archive."""
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{archive} is cut, corrupt or no archive ({error}); remove it and fetch it again") from None


@contextmanager
def unwrapped(raw: BufferedIOBase, inside: str) -> Iterator[BufferedIOBase]:
    """The tar itself, out of its zip and its gzip where it has them."""
    with ExitStack() as stack:
        magic = raw.read(4)
        raw.seek(0)
        if magic == b"PK\x03\x04":
            package = stack.enter_context(zipfile.ZipFile(raw))
            named = [info for info in package.infolist() if PurePosixPath(info.filename).name == inside]
            if len(named) != 1 or stat.S_ISLNK(named[0].external_attr >> 16):
                raise zipfile.BadZipFile(f"expected one file {inside!r} in it")
            yield stack.enter_context(gzip.open(stack.enter_context(package.open(named[0]))))
        else:
            yield stack.enter_context(gzip.open(raw)) if magic[:2] == b"\x1f\x8b" else raw
