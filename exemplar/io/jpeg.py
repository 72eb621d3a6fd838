"""The markers of a JPEG's file, from which one knows what it costs to decode before anybody does."""

import re
from collections.abc import Iterator
from io import BufferedIOBase

START_OF_SCAN, END = 0xDA, 0xD9
LENGTHLESS = (0x01, 0xD8, END)  # markers behind which no length stands
MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # the others are part of the pixels
MOST_MARKERS = 10_000  # a camera's file has some hundred at most
BLOCK_BYTES = 4096


def count_scans(file: BufferedIOBase) -> int:
    """How many passes over its pixels a JPEG asks for: one, or some ten where it is progressive.

    What lies behind the end of the picture, such as the film of a motion photo, is not looked at. Raises ValueError for
    more markers than any camera writes.
    """
    place, scans = file.tell(), 0
    file.seek(0)
    for count, marker in enumerate(markers(file)):
        if count == MOST_MARKERS:
            raise ValueError(f"it has more than {MOST_MARKERS:,} segments")
        scans += marker == START_OF_SCAN
    file.seek(place)
    return scans


def markers(file: BufferedIOBase) -> Iterator[int]:
    """The markers of the first picture in a file, in order, each without what its segment holds."""
    marker = next_marker(file)
    while marker is not None:
        yield marker
        if marker == END:
            return
        if marker not in LENGTHLESS:
            file.seek(max(0, int.from_bytes(file.read(2)) - 2), 1)
        marker = next_marker(file)


def next_marker(file: BufferedIOBase) -> int | None:
    """The next marker from here on, the file standing behind it; None where there is none any more."""
    while block := file.read(BLOCK_BYTES):
        if found := MARKER.search(block):
            file.seek(found.end() - len(block), 1)
            return found[1][0]
        if block[-1:] == b"\xff" and len(block) > 1:
            file.seek(-1, 1)
    return None
