"""Streams of what an archive is packed with, and its headers, read within bounds of memory and time.

A few bytes may stand for any number: 64 kB of gzip for 64 MB, a header of a megabyte for an hour of Python's tarfile.
"""

import bz2
import gzip
import lzma
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from exemplar.io import contents

BLOCK_BYTES = 1 << 20
MOST_UNPACKED_BYTES = 1 << 33  # of an archive; STL-10's, the largest that is read, has 3 GB
MOST_EXTENSION_BYTES = 1 << 14  # of a header in front of a member's own, as for a long name
MOST_GLOBAL_ENTRIES = 1000  # what such headers may say of all members that follow
MOST_XZ_BYTES = 1 << 27  # of memory; xz's highest level needs half of it
# Python before 3.11.10 takes the square of a run of digits in time, and sparse files have tables without an end.
REFUSED_IN_HEADERS = re.compile(rb"[0-9]{256}|GNU\.sparse")
ZIP, GZIP, BZIP2, XZ = b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
Stream = Any  # files, and what gzip, bz2, lzma and zipfile open, have no type in common that is checked when tests run


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
        too_long = header.type in EXTENSIONS and header.size > MOST_EXTENSION_BYTES
        if header.size < 0 or too_long or header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a header states an impossible size")  # tarfile would read it into memory whole
        return header

    def _proc_pax(self, tar: tarfile.TarFile) -> "Header":
        """Read a header of the POSIX format, through a look at it before tarfile has it."""
        stream = tar.fileobj
        tar.fileobj = Inspected(stream)  # type: ignore[assignment]
        try:
            return super()._proc_pax(tar)  # type: ignore[misc, no-any-return]
        finally:
            tar.fileobj = stream


class Inspected:
    """A stream of headers."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.tell = stream, stream.tell

    def read(self, size: int) -> bytes:
        """Some bytes; raises ReadError for those over which tarfile would sit without an end."""
        block: bytes = self.stream.read(size)
        if REFUSED_IN_HEADERS.search(block):
            raise tarfile.ReadError("a header that no tar of pictures has, refused")
        return block


def iter_headers(stream: Stream, *, seeks: bool = False) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The tar and the header of each of its members, of which tarfile keeps none; raises ReadError for a broken one.

    In a file that can be read at any place (`seeks`) the bytes between the headers are not read.
    """
    mode: Literal["r:", "r|"] = "r:" if seeks else "r|"
    with tarfile.open(fileobj=stream, mode=mode, bufsize=BLOCK_BYTES, tarinfo=Header) as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # which grows with every member
            if info.size < 0 or len(tar.pax_headers) > MOST_GLOBAL_ENTRIES:
                raise tarfile.ReadError("a header states an impossible size")
            yield tar, info
            if info.size > MOST_UNPACKED_BYTES:  # tarfile would look for the next one block by block
                raise tarfile.ReadError("a header states an impossible size")


class Measured:
    """A stream of unpacked bytes, of which several may share one allowance."""

    def __init__(self, stream: Stream, *, allowance: list[int]) -> None:
        self.stream, self.allowance = stream, allowance

    def read(self, size: int) -> bytes:
        """Some bytes; raises ReadError once there were more than any set has."""
        block: bytes = self.stream.read(size)
        self.allowance[0] -= len(block)
        if self.allowance[0] < 0:
            raise tarfile.ReadError(f"unpacked it has more than {MOST_UNPACKED_BYTES:,} bytes")
        return block


class Xz:
    """What a file of xz unpacks to, in bounded memory, which Python's own reader of such files does not offer."""

    def __init__(self, packed: Stream) -> None:
        self.packed, self.unpacker = packed, self.begin()

    @staticmethod
    def begin() -> lzma.LZMADecompressor:
        """The reader of one of the streams that may lie in such a file one behind the other."""
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_XZ_BYTES)

    def read(self, size: int) -> bytes:
        """Some bytes, at most `size`; none at the end."""
        while True:
            left = self.unpacker.unused_data if self.unpacker.eof else b""
            fresh = left or (self.packed.read(BLOCK_BYTES) if self.unpacker.eof or self.unpacker.needs_input else b"")
            if self.unpacker.eof:
                fresh = fresh.lstrip(b"\0")  # what may stand between two of them
                self.unpacker = self.begin()
                if not fresh:
                    return b""
            elif not fresh and self.unpacker.needs_input:
                raise EOFError("unexpected end of data")
            if block := self.unpacker.decompress(fresh, size):
                return block


def first_bytes(stream: Stream) -> bytes:
    """The bytes that show what it is; it is read from its beginning afterwards."""
    head: bytes = stream.read(contents.HEAD_BYTES)
    stream.seek(0)
    return head


@contextmanager
def decompressed(stream: Stream) -> Iterator[Measured]:
    """The tar itself, out of what it is packed with."""
    head, allowance = first_bytes(stream), [MOST_UNPACKED_BYTES]
    if head.startswith(GZIP):
        with gzip.GzipFile(fileobj=stream) as plain:
            yield Measured(plain, allowance=allowance)
    elif head.startswith(BZIP2):
        with bz2.BZ2File(stream) as plain:
            yield Measured(plain, allowance=allowance)
    else:
        yield Measured(Xz(stream) if head.startswith(XZ) else stream, allowance=allowance)
