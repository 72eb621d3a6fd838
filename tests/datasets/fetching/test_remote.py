"""Folders in an object store, from a real S3 server on this machine, and on a web server that lists its files."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import fsspec
import numpy as np
import pytest

from exemplar.datasets import folder
from exemplar.datasets.base import load_images
from exemplar.datasets.fetching import remote
from exemplar.datasets.fetching.fetch import fetch
from exemplar.errors import UserError
from exemplar.io.sources import source_digest

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")
OPTIONS: dict[str, Any] = {"side": 16, "train_per_class": 3, "folds": 4, "skip_broken": False}
NONE = "0" * 32


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a user names a store of their own, in the environment."""
    named = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in {**named, "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def shards(tmp_path: Path, picture: Callable[..., bytes], pack: Callable[..., Path]) -> Path:
    """Two shards of three pictures, and a report."""
    root = tmp_path / "shards"
    (root / "deep").mkdir(parents=True)
    for number in range(2):
        files = {f"{number}{each}.jpg": picture(10 * number + each, size=(20, 16)) for each in range(3)}
        pack(f"shards/deep/{number:05}.tar", files)
    (root / "report.json").write_text("{}")
    return root


@pytest.fixture
def bucket(shards: Path, request: pytest.FixtureRequest) -> str:
    """A bucket that holds them."""
    client, name = boto3.Session().client("s3"), f"bucket-{abs(hash(request.node.name))}"
    client.create_bucket(Bucket=name)
    for path in filter(Path.is_file, shards.rglob("*")):
        client.upload_file(str(path), name, f"set/{path.relative_to(shards)}")
    return name


def test_shards_in_a_bucket_are_those_on_the_disk(bucket: str, shards: Path, tmp_path: Path) -> None:
    """They are copied once, verified, and used from there; a copy that was begun goes on."""
    md5, downloads = source_digest(shards), tmp_path / "downloads"
    (downloads / f"{md5}.part" / "deep").mkdir(parents=True)
    (downloads / f"{md5}.part" / "deep" / "00000.tar").write_bytes((shards / "deep" / "00000.tar").read_bytes())
    before = (downloads / f"{md5}.part" / "deep" / "00000.tar").stat().st_mtime_ns
    tree = fetch([f"s3://{bucket}/set"], md5=md5, folder=downloads)
    assert tree == downloads / md5
    assert (tree / "deep" / "00000.tar").stat().st_mtime_ns == before
    assert not (tree / "report.json").exists(), "what is no picture and no shard is not needed"
    for name, source in (("one", tree), ("other", shards)):
        (tmp_path / name).mkdir()
        folder.write_unlabeled(source, tmp_path / name, **OPTIONS)
    np.testing.assert_array_equal(load_images(tmp_path / "one"), load_images(tmp_path / "other"))
    boto3.Session().client("s3").delete_object(Bucket=bucket, Key="set/deep/00000.tar")
    assert fetch([f"s3://{bucket}/set"], md5=md5, folder=downloads) == tree, "it is there"


def test_a_folder_on_a_web_server_is_copied_too(shards: Path, tmp_path: Path) -> None:
    """Its URL ends with a slash, and the server lists what is in it."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(shards))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        md5 = source_digest(shards)
        tree = fetch([f"http://127.0.0.1:{server.server_port}/"], md5=md5, folder=tmp_path / "downloads")
        server.shutdown()
    assert source_digest(tree) == md5


def test_a_web_server_that_falls_silent_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file may take as long as it needs, as long as bytes come."""
    monkeypatch.setattr(remote, "SECONDS_OF_SILENCE", 1)
    assert remote.deadlines("https://host/")["client_kwargs"]["timeout"].total is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        began = time.monotonic()
        with pytest.raises(UserError, match=re.escape(f"{url}: it cannot be read (")):
            fetch([url], md5=NONE, folder=tmp_path)
        assert time.monotonic() - began < 30


def test_a_copy_ends_when_it_is_to_end(bucket: str, tmp_path: Path) -> None:
    """At the next block, and no file has its name then."""
    stop = Event()
    stop.set()
    with pytest.raises(InterruptedError):
        remote.copy(fsspec.filesystem("s3"), f"{bucket}/set/report.json", tmp_path / "report.json", stop)
    assert not (tmp_path / "report.json").exists()


def test_another_digest_is_told_and_the_copy_is_not_fetched_again(bucket: str, shards: Path, tmp_path: Path) -> None:
    """Whoever takes the md5 that the line names goes on at once."""
    md5 = source_digest(shards)
    with pytest.raises(UserError, match=f"its md5 is {md5}, expected {NONE}; what came is kept as "):
        fetch([f"s3://{bucket}/set"], md5=NONE, folder=tmp_path / "downloads")
    assert fetch(["s3://no-such-bucket/set"], md5=md5, folder=tmp_path / "downloads").name == md5


@pytest.mark.parametrize("url", ["s3://no-such-bucket/set", "s3://{bucket}/no-such-folder"])
def test_what_is_not_there_is_told(bucket: str, url: str, tmp_path: Path) -> None:
    """A bucket or a folder in it."""
    with pytest.raises(
        UserError, match=r"^no source gave what has the md5 .*: (it cannot be read|it has no files)"
    ) as told:
        fetch([url.format(bucket=bucket)], md5=NONE, folder=tmp_path)
    assert "\n" not in str(told.value)


def test_a_store_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody listens at that address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(UserError, match=r"s3://bucket/set: it cannot be read .*Could not connect"):
        fetch(["s3://bucket/set"], md5=NONE, folder=tmp_path)


def test_credentials_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key in the environment and in no file."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match=r"s3://bucket/set: it cannot be read \(.*credentials"):
        fetch(["s3://bucket/set"], md5=NONE, folder=tmp_path)


def test_a_link_is_never_written_through(bucket: str, tmp_path: Path) -> None:
    """In the place of a copy that was begun, or in it, as a copied repository may bring one."""
    begun, mine = tmp_path / "downloads" / f"{NONE}.part", tmp_path / "mine"
    begun.parent.mkdir()
    mine.mkdir()
    for link in (begun, begun / "deep"):
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(mine)
        with pytest.raises(UserError, match=f"^{link} is no file or folder of its own, so that nothing is written"):
            fetch([f"s3://{bucket}/set"], md5=NONE, folder=begun.parent)
        link.unlink()
    assert not list(mine.iterdir())


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="it is installed")
def test_a_package_that_a_store_needs_is_told(tmp_path: Path) -> None:
    """That of Google's is in no extra of this package."""
    with pytest.raises(
        UserError, match=r"not installed \(.*gcsfs.*\); pip install 'exemplar\[remote\]' gcsfs; correct"
    ):
        fetch(["gs://bucket/set"], md5=NONE, folder=tmp_path)
    assert remote.deadlines("gs://bucket/set")["requests_timeout"].sock_read == remote.SECONDS_OF_SILENCE
