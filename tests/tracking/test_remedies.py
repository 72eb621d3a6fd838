"""What helps against an error that MLflow's client raises, by its words and by the error itself."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from exemplar.errors import UserError
from exemplar.tracking import remedies, store


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        ("No module named 'google.cloud'", "install google.cloud where"),
        ("Unable to locate credentials", "give the credentials of its artifact store"),
        ("API request to endpoint /x failed with error code 401 != 200", "MLFLOW_TRACKING_PASSWORD"),
        ("403 Client Error: Forbidden for url: http://h/x", "ask for the right"),
        ("413 Client Error: Request Entity Too Large", "raise that limit"),
        ("(sqlite3.OperationalError) database is locked", "let it go on or end it"),
        ("API request to endpoint /api/2.0/mlflow/logged-models failed with error code 404 != 200", "older than 3"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed", "in REQUESTS_CA_BUNDLE"),
        ("http://127.0.0.1:401/x: no such host", ""),
    ],
)
def test_a_cause_that_is_known_has_its_remedy(error: str, helps: str) -> None:
    """Of all others only the words of the error are told."""
    found = remedies.remedy(error)
    assert helps in found
    assert bool(found) is bool(helps)


class Page(BaseHTTPRequestHandler):
    """Any other program that speaks HTTP."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """Host and port of a server that is no MLflow."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "variable", "helps"),
    [
        ("https://PLACE", "", "its address begins with http://"),
        ("https://PLACE", "REQUESTS_CA_BUNDLE=/absent.pem", "names a file that is not there: unset it"),
        ("http://PLACE", "MLFLOW_HTTP_REQUEST_TIMEOUT=soon", "correct or unset MLFLOW_HTTP_REQUEST_TIMEOUT"),
        ("http://PLACE", "MLFLOW_HTTP_REQUEST_MAX_RETRIES=some", "correct or unset MLFLOW_HTTP_REQUEST_MAX_RETRIES"),
        ("http://PLACE", "", "a page answers in place of MLflow"),
        ("http://host.invalid", "http_proxy=http://u:hunter2@127.0.0.1:9", "the host in NO_PROXY"),
        ("http://host.invalid", "", "no host has this name: correct the address"),
        ("http://127.0.0.1:99999", "", "expected an address such as http://host:5000"),
        ("127.0.0.1:5000", "", "expected an address such as http://host:5000"),
        ("localhost:5000", "", "expected an address such as http://host:5000"),
        ("file:///absent/mlruns", "", "expected an address such as http://host:5000"),
        ("http://127.0.0.1:9", "", "start it, or correct the address"),
    ],
)
def test_an_address_or_a_variable_that_is_wrong_is_told_as_such(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, variable: str, helps: str
) -> None:
    """Where nothing can be started, the line does not ask for it; it shows no password and is one line."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in (
        "MLFLOW_EXPERIMENT_NAME",
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(*variable.split("=", 1))
    with (
        pytest.raises(UserError, match=re.escape(helps)) as told,
        store.answering(uri := address.replace("PLACE", place)),
    ):
        store.connect(uri)
    assert "hunter2" not in str(told.value)
    assert ("start it" in str(told.value)) == ("start it" in helps)


@pytest.mark.parametrize("written", ["http://host:5000/", " http://host:5000", "http://host:5000\r"])
def test_an_address_is_the_same_however_it_is_written(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slash at its end, or with what a file of another system leaves there: what waits for it is sent."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", written)
    assert store.address() == "http://host:5000"
