"""What the environment does to a download is told as the environment's doing, with the variable's name."""

import re
import socket
from pathlib import Path

import pytest

from exemplar.datasets.fetching.fetch import fetch
from exemplar.errors import UserError
from exemplar.io.sources import local_path

MD5 = "0" * 32
VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def line(url: str, folder: Path) -> str:
    """What is printed for a source that gives nothing."""
    with pytest.raises(UserError) as refused:
        fetch([url], md5=MD5, folder=folder, attempts=1, timeout_seconds=5.0)
    return str(refused.value)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another environment's variable leaves them: it is no fault of the disk."""
    monkeypatch.setenv(name, "/opt/conda/ssl/cacert.pem")
    said = line("https://127.0.0.1:1/set.tar", tmp_path)
    assert f"it cannot be asked; {name} in the environment is /opt/conda/ssl/cacert.pem, where nothing is" in said
    assert "cannot keep" not in said


def test_certificates_that_are_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is there, but holds no certificate."""
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = line(f"https://127.0.0.1:{server.getsockname()[1]}/set.tar", tmp_path)
    assert f"; REQUESTS_CA_BUNDLE in the environment is {tmp_path / 'ca.pem'}" in said


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "http_proxy",
            "http://alice:hunter2@127.0.0.1:1",
            "the proxy cannot be used; http_proxy .* http://127.0.0.1:1;",
        ),
        ("HTTP_PROXY", "alice:hunter2@127.0.0.1:1", r"the proxy cannot be used; HTTP_PROXY .* 127.0.0.1:1;"),
        ("http_proxy", "http://", "the proxy cannot be used; http_proxy in the environment is http://"),
        ("all_proxy", "socks5://127.0.0.1:1", "the proxy needs the package PySocks; all_proxy .* socks5://127.0.0.1:1"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    name: str, value: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the password in it: that it is the proxy and not the source, and which variable names it."""
    monkeypatch.setenv(name, value)
    said = line("http://localhost.invalid/set.tar", tmp_path)
    assert re.search(told, said), said
    assert "hunter2" not in said


def test_a_proxy_that_is_bypassed_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no_proxy names is asked without it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    said = line("http://127.0.0.1:1/set.tar", tmp_path)
    assert "the connection could not be made" in said
    assert "proxy" not in said


def test_a_path_in_a_home_folder_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HOME of another environment, the line shows where it was looked for."""
    monkeypatch.setenv("HOME", "/home/of-somebody-else")
    assert line("~/set.tar", tmp_path).startswith(
        f"no source gave what has the md5 {MD5}: /home/of-somebody-else/set.tar:"
    )


@pytest.mark.parametrize("source", ["~nosuchuser/x", "/a\0b", "file:///a%00b", "http://127.0.0.1/a\0b"])
def test_a_path_that_cannot_be_is_told(source: str) -> None:
    """The home of nobody, and the one character that no path can hold."""
    with pytest.raises(UserError, match=r"no home folder is known|a character of value 0"):
        local_path(source)


def test_a_folder_that_may_not_be_written_is_told_with_its_reason(tmp_path: Path) -> None:
    """A file where the folder of downloads belongs."""
    (tmp_path / "downloads").touch()
    assert "cannot keep a download in" in line("http://127.0.0.1:1/x", tmp_path / "downloads")
    assert "(None)" not in line("http://127.0.0.1:1/x", tmp_path / "downloads")
