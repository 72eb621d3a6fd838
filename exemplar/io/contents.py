"""What a file is by its first bytes, so that a message can name what lies where a picture or an archive belongs."""

HEAD_BYTES = 64  # enough for all of them
HEIC = "HEIC, which the package pillow-heif converts"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
KINDS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "RAR"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"PAR1", "Parquet"),
    (b"\x89HDF\r\n", "HDF5"),
    (b"\x93NUMPY", "NumPy"),
    (b"MATLAB", "MATLAB"),
    (b"SQLite format", "SQLite"),
)


def kind(head: bytes) -> str | None:
    """The name of the format that the first HEAD_BYTES of a file show; None where they show none that is known."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return HEIC if brand in HEIC_BRANDS else "AVIF" if brand in (b"avif", b"avis") else "MP4"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else "RIFF"
    return next((name for magic, name in KINDS if head.startswith(magic)), None)


def described(head: bytes) -> str | None:
    """What to say of a file that begins like this, as in "it is empty"; None where nothing is known of it."""
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS (`git lfs pull` brings the file)"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "is a web page"
    name = kind(head)
    return f"has the format {name}" if name else None
