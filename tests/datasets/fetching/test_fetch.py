"""Fetching, against a real server on loopback that does what bad servers do."""

import gc
import hashlib
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial as bound
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from exemplar.datasets.fetching import transfer
from exemplar.datasets.fetching.fetch import fetch
from exemplar.datasets.fetching.transfer import BLOCK_BYTES
from exemplar.errors import UserError

PAYLOAD = random.Random(0).randbytes(700_001)
MD5 = hashlib.md5(PAYLOAD, usedforsecurity=False).hexdigest()
CHUNK = 16_384


class Host(ThreadingHTTPServer):
    """A server whose paths name its manners; it remembers what was asked for and what it sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.starts: list[int] = []
        self.sent: list[int] = []
        self.asked = Counter[str]()
        self.held_at = 0
        self.going_on = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no news here."""

    def url(self, manners: str, user: str = "") -> str:
        """The address of the file, offered with these manners."""
        return f"http://{user}127.0.0.1:{self.server_port}/{manners}/set.tar"


class Handler(BaseHTTPRequestHandler):
    """Answers with the manners that the path names: one method for each."""

    server: Host

    def log_message(self, *_: object) -> None:
        """Requests are counted and not printed."""

    def do_GET(self) -> None:
        manners = self.path.split("/")[1]
        self.server.asked[manners] += 1
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.starts.append(start)
        getattr(self, f"do_{manners}")(start)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self, content: bytes, pause_seconds: float = 0.0) -> None:
        self.server.sent.append(0)
        for at in range(0, len(content), CHUNK):
            self.wfile.write(content[at : at + CHUNK])
            self.server.sent[-1] += len(content[at : at + CHUNK])
            time.sleep(pause_seconds)

    def rest(self, start: int, content: bytes = PAYLOAD) -> bytes:
        """Say that the file comes from `start` on, as servers do that know ranges, and return what is to be sent."""
        if start >= len(content):
            self.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
        elif start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.head(206, Content_Range=span, Content_Length=len(content) - start)
        else:
            self.head(200, Content_Length=len(content))
        return content[start:]

    def do_good(self, start: int) -> None:
        self.body(self.rest(start))

    def do_held(self, start: int) -> None:
        content, held = self.rest(start), max(0, self.server.held_at - start)
        self.body(content[:held], pause_seconds=0.003)
        self.server.going_on.wait(20)
        self.body(content[held:])

    def do_rangeless(self, start: int) -> None:
        self.body(self.rest(0)[: start + 200_000])

    def do_breaks(self, start: int) -> None:
        self.body(self.rest(start)[:150_000])

    def do_drips(self, start: int) -> None:
        self.body(self.rest(start)[:1000])

    def do_resets(self, start: int) -> None:
        self.body(self.rest(start)[:150_000])
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def do_stalls(self, start: int) -> None:
        self.body(self.rest(start)[:400_000])
        self.server.going_on.wait(20)

    def do_trickles(self, start: int) -> None:
        for byte in self.rest(start)[:200]:
            self.body(bytes([byte]), pause_seconds=0.02)

    def do_headers_without_end(self, _: int) -> None:
        self.send_response(200)
        for number in range(90):
            self.send_header(f"X-{number}", "1")
            self.flush_headers()
            time.sleep(0.02)

    def do_redirects_to_no_text(self, _: int) -> None:
        self.head(302, Location="/caf\xe9\xff")

    def do_redirects_to_no_host(self, _: int) -> None:
        self.head(302, Location="http://[::1/x")

    def do_silent(self, _: int) -> None:
        self.server.going_on.wait(20)

    def do_short(self, start: int) -> None:
        self.body(self.rest(start, PAYLOAD[:-9]))

    def do_long(self, start: int) -> None:
        self.body(self.rest(start, PAYLOAD + b"and more"))

    def do_longer_than_said(self, start: int) -> None:
        self.head(206, Content_Range=f"bytes {start}-{len(PAYLOAD) - 1}/{len(PAYLOAD)}")
        self.body(PAYLOAD[start:] + b"and more" * 10_000)

    def do_elsewhere(self, start: int) -> None:
        self.head(206, Content_Range=f"bytes {start + 5}-{len(PAYLOAD) - 1}/{len(PAYLOAD)}")

    def do_upside_down(self, _: int) -> None:
        self.head(206, Content_Range="bytes 5-2/9")
        self.body(b"endless")

    def do_page(self, _: int) -> None:
        self.head(200, Content_Type="text/html; charset=utf-8", Content_Length=9)
        self.body(b"<p>Sorry!")

    def do_nothing(self, _: int) -> None:
        self.connection.close()

    def do_empty(self, _: int) -> None:
        self.head(200, Content_Length=0)

    def do_unsized(self, _: int) -> None:
        self.head(200)
        self.body(PAYLOAD)

    def do_missing(self, _: int) -> None:
        self.head(404, Content_Length=0)

    def do_busy(self, start: int) -> None:
        if self.server.asked["busy"] < 3:
            self.head(503, Content_Length=0)
        else:
            self.do_good(start)

    def do_endless(self, _: int) -> None:
        self.head(200, Content_Length=10**18 - 1)

    def do_gzipped(self, _: int) -> None:
        self.head(200, Content_Length=len(PAYLOAD), Content_Encoding="gzip")
        self.body(PAYLOAD)

    def do_moved(self, _: int) -> None:
        self.head(302, Location="/good/set.tar", Content_Length=0)

    def do_circle(self, _: int) -> None:
        self.head(302, Location="/circle/set.tar", Content_Length=0)


@pytest.fixture
def host() -> Iterator[Host]:
    """A server of the test's own."""
    with Host() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.going_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., Path]:
    """`fetch` for the payload, with little patience."""
    return bound(fetch, md5=MD5, folder=tmp_path / "cache", attempts=3, pause_seconds=0.001, timeout_seconds=10.0)


def held(folder: Path) -> set[str]:
    """What lies in the download cache, but for its lock."""
    return {path.name for path in (folder / "cache").iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize(
    "manners",
    ["good", "rangeless", "breaks", "resets", "stalls", "longer_than_said", "busy", "moved", "gzipped"],
)
def test_a_server_that_gives_the_file_in_the_end_is_enough(
    manners: str, host: Host, get: Callable[..., Path], tmp_path: Path
) -> None:
    """Broken, reset and stalled connections, ignored ranges, surplus bytes and busy servers are all lived through."""
    path = get([host.url(manners)], timeout_seconds=0.3 if manners == "stalls" else 10.0)
    assert path == tmp_path / "cache" / MD5
    assert path.read_bytes() == PAYLOAD
    assert held(tmp_path) == {MD5}


@pytest.mark.parametrize(
    ("manners", "reason"),
    [
        ("missing", "404 Not Found"),
        ("page", "a web page and not with the file"),
        ("nothing", "broke off"),
        ("empty", "sends nothing"),
        ("silent", "silent for 0.3 s"),
        ("elsewhere", "another range"),
        ("upside_down", "another range"),
        ("unsized", "does not say how long"),
        ("circle", "no usable address"),
        ("drips", "broke off with 3,000 bytes here"),
    ],
)
def test_a_server_that_does_not_give_the_file_is_told_in_one_line(
    manners: str, reason: str, host: Host, get: Callable[..., Path]
) -> None:
    """The line names the source and what it did; after it, a mirror that has the file is as good as the first."""
    patience = 0.3 if manners == "silent" else 10.0
    with pytest.raises(UserError, match=reason) as caught:
        get([host.url(manners)], timeout_seconds=patience)
    assert host.url(manners) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert get([host.url(manners), host.url("good")], timeout_seconds=patience).read_bytes() == PAYLOAD


@pytest.mark.parametrize("manners", ["short", "long"])
def test_a_wrong_file_is_kept_aside_and_both_digests_are_said(
    manners: str, host: Host, get: Callable[..., Path], tmp_path: Path
) -> None:
    """A file with a wrong digest never gets the name of the right one, and is not fetched a second time."""
    wrong = PAYLOAD[:-9] if manners == "short" else PAYLOAD + b"and more"
    wrong_md5 = hashlib.md5(wrong, usedforsecurity=False).hexdigest()
    with pytest.raises(UserError, match=f"md5 is {wrong_md5}, expected {MD5}"):
        get([host.url(manners)])
    assert host.asked[manners] == 1
    assert (tmp_path / "cache" / f"{MD5}.wrong-{wrong_md5}").read_bytes() == wrong


def test_a_beginning_that_is_wrong_does_not_stand_in_the_way(
    host: Host, get: Callable[..., Path], tmp_path: Path
) -> None:
    """What an earlier fetch left may be damaged or too long: it is kept aside, and the file fetched from its start."""
    for beginning in (b"x" * 1000, b"x" * len(PAYLOAD), b"x" * (len(PAYLOAD) + 1)):
        (tmp_path / "cache").mkdir(exist_ok=True)
        (tmp_path / "cache" / f"{MD5}.part").write_bytes(beginning)
        assert get([host.url("good")]).read_bytes() == PAYLOAD
        (tmp_path / "cache" / MD5).unlink()


def test_a_mirror_goes_on_where_another_broke_off(host: Host, get: Callable[..., Path]) -> None:
    """The state of a fetch is the partial file, whichever source it came from."""
    with pytest.raises(UserError):
        get([host.url("breaks")], attempts=1)
    assert get([host.url("good")]).read_bytes() == PAYLOAD
    assert host.starts == [0, 150_000]


def test_a_fetched_file_is_not_fetched_again_unless_it_changed(
    host: Host, get: Callable[..., Path], tmp_path: Path
) -> None:
    """The cache outlives the process and is verified at each use; a bit that flipped on the disk is noticed."""
    path = get([host.url("good")])
    assert get([host.url("missing")]) == path
    assert host.asked["missing"] == 0
    path.write_bytes(b"?" + PAYLOAD[1:])
    assert get([host.url("good")]).read_bytes() == PAYLOAD
    assert len(held(tmp_path)) == 2


def test_space_is_asked_for_before_the_first_byte(
    host: Host, get: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file larger than any set, or than what is free on the disk, is not begun."""
    with pytest.raises(UserError, match=r"it says 999,999,999,999,999,999 bytes; at most 34,359,738,368 are fetched"):
        get([host.url("endless")])
    monkeypatch.setattr(transfer, "MOST_BYTES", 1 << 62)
    with pytest.raises(UserError, match=r"no space in .* MB are needed and .* MB are free"):
        get([host.url("endless")])


def test_a_local_file_is_verified_and_used_in_place(get: Callable[..., Path], tmp_path: Path) -> None:
    """A path and a file:// URL name the same file; nothing is copied, and a wrong one stays as it is."""
    local = tmp_path / "my copy.tar"
    local.write_bytes(PAYLOAD)
    assert get([str(local)]) == get([local.as_uri()]) == get([str(tmp_path / "none"), str(local)]) == local
    with pytest.raises(UserError, match=rf"my copy.tar: its md5 is {MD5}, expected {'0' * 32}"):
        get([str(local)], md5="0" * 32)
    with pytest.raises(UserError, match=r"none: it cannot be read \(No such file or directory\)"):
        get([str(tmp_path / "none")])
    assert [path.name for path in tmp_path.iterdir()] == ["my copy.tar"]


def test_a_local_folder_has_a_digest_too(get: Callable[..., Path], tmp_path: Path) -> None:
    """The digest of a folder changes with the name and the content of any file in it, and not with hidden ones."""
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "one.jpg").write_bytes(b"1")
    with pytest.raises(UserError, match=r"its md5 is ([0-9a-f]{32})") as caught:
        get([str(tree)])
    md5 = str(caught.value).split("its md5 is ")[1][:32]
    (tree / ".DS_Store").touch()
    assert get([str(tree)], md5=md5) == tree
    (tree / "a" / "one.jpg").rename(tree / "a" / "two.jpg")
    with pytest.raises(UserError, match="its md5 is"):
        get([str(tree)], md5=md5)


def test_a_source_that_is_named_for_the_first_time_says_what_to_type(get: Callable[..., Path], tmp_path: Path) -> None:
    """While its md5 is the published zeros; but not of what is of no use, which is told instead."""
    local, zeros = tmp_path / "my copy.tar", "0" * 32
    local.write_bytes(PAYLOAD)
    with pytest.raises(UserError) as told:
        get([str(local)], md5=zeros, section="sources.folder")
    typed = f"-S sources.folder.md5={MD5} (the md5 of {local})"
    assert str(told.value) == f"sources.folder.md5 is not told yet; add {typed}"

    def require_usable(path: Path) -> None:
        raise UserError(f"{path.name} is no folder")

    with pytest.raises(UserError, match=r"^my copy\.tar is no folder$"):
        get([str(local)], md5=zeros, section="sources.folder", require_usable=require_usable)
    with pytest.raises(UserError, match="no source gave what has the md5"):
        get([str(tmp_path / "none")], md5=zeros, section="sources.folder", require_usable=require_usable)


@pytest.mark.parametrize("source", ["ftp://u:secret@h/x", "file://h/x", "http:///x", "http://[x"])
def test_an_address_of_no_use_is_refused(source: str, get: Callable[..., Path]) -> None:
    """Only http, https, s3, gs, file:/// and paths can be fetched from."""
    with pytest.raises(UserError, match=r"expected http|no usable address") as caught:
        get([source])
    assert "secret" not in str(caught.value)


def test_a_digest_that_is_none_is_refused(get: Callable[..., Path]) -> None:
    """An md5 is 32 hexadecimal digits, and a source is needed."""
    with pytest.raises(UserError, match="'f00' is no digest"):
        get(["x"], md5="f00")
    with pytest.raises(UserError, match="None is no digest"):
        get(["x"], md5=None)
    with pytest.raises(UserError, match="none is named"):
        get([])


@pytest.mark.parametrize("user", ["anna:hunter2@", "anna:hunter2/x@", "hunter2@", "anna:hun?ter2@", "a:hunter2#@"])
def test_the_user_part_of_a_url_reaches_no_message(
    user: str, host: Host, get: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the error nor the lines on the way hold what stands before the host or in the query."""
    with pytest.raises(UserError) as caught:
        get([host.url("breaks", user) + "?token=hunter2", host.url("missing", user)], attempts=1)
    said = capfd.readouterr()
    assert "hun" not in str(caught.value) + said.err + said.out
    assert "anna" not in str(caught.value) + said.err + said.out


def test_a_folder_that_cannot_be_written_is_told(host: Host, get: Callable[..., Path], tmp_path: Path) -> None:
    """What the disk refuses becomes one line that names the folder."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot keep a download in .*file"):
        get([host.url("good")], folder=tmp_path / "file")


@pytest.mark.parametrize("manners", ["trickles", "headers_without_end"])
def test_a_server_that_sends_drop_by_drop_is_left(manners: str, host: Host, get: Callable[..., Path]) -> None:
    """Each byte comes within the time that a server may be silent, and all of them would take hours."""
    began = time.monotonic()
    with pytest.raises(UserError, match=r"it was silent for 0.1 s, or sends drop by drop"):
        get([host.url(manners)], attempts=1, timeout_seconds=0.1)
    assert time.monotonic() - began < 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # requests itself leaves a socket open
@pytest.mark.parametrize("manners", ["redirects_to_no_text", "redirects_to_no_host"])
def test_a_redirection_to_nowhere_is_told(manners: str, host: Host, get: Callable[..., Path]) -> None:
    """Whatever the library that follows it says."""
    with pytest.raises(UserError, match=r"it leads to no usable address|could not be made"):
        get([host.url(manners)], attempts=1)
    gc.collect()


def test_a_host_that_can_be_none_is_told_at_once(get: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Asking again is of no use."""
    with pytest.raises(UserError, match="it leads to no usable address"):
        get(["http://a..b/x"])
    assert "asking again" not in capfd.readouterr().err


def test_what_came_wrong_is_kept_once(host: Host, get: Callable[..., Path], tmp_path: Path) -> None:
    """A source that sends other bytes each time does not fill the disk."""
    for number in range(3):
        (tmp_path / f"{MD5}.part").write_bytes(PAYLOAD[:-9] + bytes(9) + bytes(number))
        with pytest.raises(UserError, match="its md5 is"):
            get([host.url("short")], folder=tmp_path, attempts=1)
    assert len(list(tmp_path.glob("*.wrong-*"))) == 1


def test_a_link_in_place_of_a_download_is_not_written_through(
    host: Host, get: Callable[..., Path], tmp_path: Path
) -> None:
    """It came with a copied repository, and may name any file."""
    (tmp_path / "victim").write_text("mine")
    (tmp_path / f"{MD5}.part").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match="is no file of its own"):
        get([host.url("good")], folder=tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"


FETCH = """
import pathlib, sys
from exemplar.datasets.fetching.fetch import fetch
fetch([sys.argv[1]], md5=sys.argv[2], folder=pathlib.Path(sys.argv[3]))
"""


def start_fetch(url: str, folder: Path) -> subprocess.Popen[str]:
    """A fetch in a process of its own."""
    arguments = [sys.executable, "-c", FETCH, url, MD5, str(folder)]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def test_a_fetch_killed_ten_times_fetches_no_byte_twice(host: Host, tmp_path: Path) -> None:
    """Each process goes on at the byte on the disk where the killed one ended; only the block in flight is lost."""
    points = sorted(random.Random(7).sample(range(1, 600_000), 10))
    partial, left = tmp_path / f"{MD5}.part", []
    for point in points:
        host.held_at = point + BLOCK_BYTES  # so that the process cannot come to the end before it is killed
        process = start_fetch(host.url("held"), tmp_path)
        while not (partial.exists() and partial.stat().st_size >= point):
            assert process.poll() is None
            time.sleep(0.0005)
        process.kill()
        process.communicate()
        left.append(partial.stat().st_size)
    process = start_fetch(host.url("good"), tmp_path)
    process.communicate()
    assert process.returncode == 0
    assert (tmp_path / MD5).read_bytes() == PAYLOAD
    assert not partial.exists()
    assert set(host.starts) <= {0, *left}  # a process that was killed at once has asked for nothing
    assert host.starts == sorted(host.starts)
    assert sum(host.sent) <= len(PAYLOAD) + 10 * BLOCK_BYTES


def test_two_processes_fetch_a_file_once(host: Host, tmp_path: Path) -> None:
    """The second waits, says so in one line, and uses what the first has fetched."""
    host.held_at = 100_000
    with start_fetch(host.url("held"), tmp_path) as first:
        while not host.starts:
            time.sleep(0.001)
        with start_fetch(host.url("held"), tmp_path) as second:
            assert second.stderr
            assert "waiting for another process that fetches the same file" in second.stderr.readline()
            host.going_on.set()
            assert second.stderr.read() == ""
    assert (first.returncode, second.returncode) == (0, 0)
    assert host.starts == [0]
