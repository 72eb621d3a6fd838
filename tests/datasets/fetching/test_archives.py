"""Archives of every packing, and those that are cut, corrupt or hostile."""

import bz2
import gzip
import io
import lzma
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from exemplar.datasets.fetching.archives import members
from exemplar.errors import UserError

CONTENT = {"set/one": b"1" * 700, "set/two": random.Random(0).randbytes(3000), "set/empty": b""}


def packed(*infos: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of CONTENT and of further members without content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, content in CONTENT.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in infos:
            tar.addfile(info)
    return file.getvalue()


def member(name: str, **attributes: object) -> tarfile.TarInfo:
    """A header."""
    info = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Write bytes to a file and read all of its members."""

    def everything(content: bytes, inside: str = "") -> dict[str, bytes]:
        path = tmp_path / "set.tar"
        path.write_bytes(content)
        return {str(each.path): each.read(most_bytes=10_000) for each in members(path, inside=inside)}

    return everything


def zipped(content: bytes, name: str = "a/set.tar.gz", mode: int = 0o644) -> bytes:
    """A zip of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        package.writestr(info, content)
    return file.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_in_order_from_tar_gzip_and_zip(read: Callable[..., dict[str, bytes]], form: int) -> None:
    """The kind is seen from the content and not from the name."""
    tar = packed(form=form)
    assert list(read(tar).items()) == list(CONTENT.items())
    assert read(gzip.compress(tar)) == CONTENT
    assert read(zipped(gzip.compress(tar)), inside="set") == CONTENT


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a/set.tar.gz", "set.tgz", "a/b/set.tar.xz"])
def test_a_tar_may_be_packed_with_gzip_bzip2_or_xz(
    read: Callable[..., dict[str, bytes]], compress: Callable[[bytes], bytes], name: str
) -> None:
    """By itself or in a zip, and whatever its name says of the packing."""
    tar = compress(packed())
    assert read(tar) == CONTENT
    assert read(zipped(tar, name=name), inside="set") == CONTENT


def test_a_zip_of_the_files_themselves_is_read(tmp_path: Path) -> None:
    """As it is handed out again by others; the folders in it are no members."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.mkdir("set")
        for name, content in CONTENT.items():
            package.writestr(name, content)
    for inside in ("", "set"):
        assert {str(each.path): each.read(most_bytes=10_000) for each in members(path, inside=inside)} == CONTENT


def test_a_zip_with_a_flipped_bit_is_told_or_whole(tmp_path: Path) -> None:
    """Of each method, also the one whose library has an error of its own: one line, or all of the right content."""
    path, generator, told = tmp_path / "set.zip", random.Random(3), 0
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as package:
            for name, content in CONTENT.items():
                package.writestr(name, content)
        for _ in range(25):
            broken = bytearray(file.getvalue())
            broken[generator.randrange(30, 2500)] ^= 1 << generator.randrange(8)
            path.write_bytes(broken)
            try:
                found = {str(each.path): each.read(most_bytes=10_000) for each in members(path)}
                assert list(found.values()) == list(CONTENT.values())
            except UserError:
                told += 1
    assert told > 60


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"PAR1", "Parquet"),
        (b"\x1f\x9d\x90", r"compress \(\.Z\)"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        (b"  <!DOCTYPE html>", "a web page"),
    ],
    ids=["zstd", "7z", "rar", "parquet", "compress", "hdf5", "matlab", "lfs", "html"],
)
def test_another_packing_is_named(read: Callable[..., dict[str, bytes]], head: bytes, name: str) -> None:
    """With what is read instead, and without an order to remove anything."""
    with pytest.raises(
        UserError, match=rf"set.tar (is|has the format) {name}.*; expected a tar .*; correct url and md5"
    ) as refused:
        read(head + bytes(2000))
    assert "remove" not in str(refused.value)


def test_a_tar_may_begin_with_any_name(read: Callable[..., dict[str, bytes]]) -> None:
    """Its first bytes are the name of its first member, which may be the mark of another format."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(member("BMW/7z"))
    assert read(file.getvalue()) == {"BMW/7z": b""}
    with pytest.raises(UserError, match="is cut, corrupt or no archive"):
        read(file.getvalue()[:300] + b"?" + file.getvalue()[301:])


def test_an_unpacked_folder_is_read_like_its_archive(tmp_path: Path) -> None:
    """In the order of the names, under the folder's own name, also through a link to it, and without hidden files."""
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    for name, content in {"b": b"22", "a": b"1", "deep/c": b"", ".hidden": b"x", "Thumbs.db": b"x"}.items():
        (folder / name).write_bytes(content)
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        found = [(str(each.path), each.read(most_bytes=10)) for each in members(place)]
        assert found == [("set/a", b"1"), ("set/b", b"22"), ("set/deep/c", b"")]


def test_long_names_are_read(tmp_path: Path) -> None:
    """Names beyond 100 characters come in headers of their own."""
    name = "set/" + "ä" * 300
    (tmp_path / "long.tar").write_bytes(packed(member(name), form=tarfile.GNU_FORMAT))
    assert [str(each.path) for each in members(tmp_path / "long.tar")][-1] == name


@pytest.mark.parametrize("name", ["../out", "set/../../out", "/etc/passwd", "set/.."])
def test_a_member_that_climbs_out_is_refused(read: Callable[..., dict[str, bytes]], name: str) -> None:
    """Nothing is unpacked, and still no name may lead out of the archive."""
    with pytest.raises(UserError, match=r"set.tar: its member .* climbs out of the archive; refused"):
        read(packed(member(name)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_is_never_read(read: Callable[..., dict[str, bytes]], kind: bytes) -> None:
    """Not even a link to another member."""
    with pytest.raises(UserError, match=r"set.tar: 'set/link' is a link or a device and no file; refused"):
        read(packed(member("set/link", type=kind, linkname="set/one")))


def test_a_sparse_file_is_never_read(read: Callable[..., dict[str, bytes]]) -> None:
    """A few bytes could stand for any number of zeros."""
    info = member(
        "set/sparse",
        pax_headers={
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.map": "0,1",
            "GNU.sparse.size": "5000",
        },
    )
    with pytest.raises(UserError, match="refused"):
        read(packed(info))


def test_a_link_in_a_zip_is_refused(read: Callable[..., dict[str, bytes]]) -> None:
    """Neither a link nor a second file of the name that is looked for."""
    with pytest.raises(UserError, match=r"expected one file 'a/set.tar.gz' in it"):
        read(zipped(b"/etc/passwd", mode=stat.S_IFLNK | 0o777), inside="set")


def test_a_member_larger_than_it_may_be_is_not_read(read: Callable[..., dict[str, bytes]]) -> None:
    """What a header claims is held against what the format allows, before anything is read."""
    tar = packed()
    header = member("set/large", size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(UserError, match=r"'set/large' claims 1,099,511,627,776 bytes; at most 10,000 were expected"):
        read(header + tar)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_cannot_fill_the_memory(read: Callable[..., dict[str, bytes]], kind: bytes) -> None:
    """Names and attributes are read into memory whole, so that they are bounded too."""
    info = member("x", type=kind, size=1 << 33)
    with pytest.raises(UserError, match="impossible size"):
        read(info.tobuf(tarfile.GNU_FORMAT) + b"0" * 1024)


@pytest.mark.parametrize("size", ["-1024", "-3"])
def test_a_size_below_nothing_leads_nowhere(read: Callable[..., dict[str, bytes]], size: str) -> None:
    """It would lead back, or over what follows, of which nobody would be told."""
    with pytest.raises(UserError, match="impossible size"):
        read(packed(member("set/three", pax_headers={"size": size})))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda tar: zipped(gzip.compress(tar))])
def test_an_archive_cut_anywhere_is_told(read: Callable[..., dict[str, bytes]], pack: Callable[[bytes], bytes]) -> None:
    """No cut is taken for the end: what is missing may be half of the pictures."""
    whole = pack(packed())
    end = 3 * 512 + 1024 + 3072 if pack is bytes else len(whole)  # behind its members a tar has zeros only
    for length in (*range(0, end, 97), *range(0, end, 512), end - 1):
        with pytest.raises(UserError, match=r"set.tar is (empty|cut, corrupt or no archive \(.*\))"):
            read(whole[:length], inside="set")


def test_a_corrupt_archive_is_told_or_whole(read: Callable[..., dict[str, bytes]]) -> None:
    """300 gzip files with one random bit flipped: one line, or all of the right content."""
    whole = gzip.compress(packed())
    generator = random.Random(2)
    told = 0
    for _ in range(300):
        content = bytearray(whole)
        content[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        try:
            assert read(bytes(content)) == CONTENT
        except UserError:
            told += 1
    assert told > 200


def test_a_broken_header_is_not_taken_for_the_end(read: Callable[..., dict[str, bytes]]) -> None:
    """A flipped bit in the second header would otherwise hide all that follows."""
    content = bytearray(packed())
    content[512 + 1024 + 3] ^= 1
    with pytest.raises(UserError, match=r"cut, corrupt or no archive \(bad checksum\)"):
        read(bytes(content))


def test_no_archive_is_told(tmp_path: Path) -> None:
    """No path, no file."""
    with pytest.raises(UserError, match="none was fetched; expected its entry under `sources`"):
        next(members(None))
    with pytest.raises(UserError, match="No such file"):
        next(members(tmp_path / "none"))
