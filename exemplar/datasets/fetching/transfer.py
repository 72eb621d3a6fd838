"""One attempt to bring the missing end of a file over HTTP."""

import http.client
import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL, ProxyError, SSLError
from urllib3.exceptions import HTTPError, LocationParseError, NameResolutionError, ReadTimeoutError
from urllib3.response import HTTPResponse

from exemplar.io.integrity import require_space
from exemplar.io.sources import shown
from exemplar.runtime.progress import track
from exemplar.runtime.waiting import within

BLOCK_BYTES = 1 << 16
MOST_BYTES = 1 << 35  # of a file, 34 GB; the largest set has 2.6
SLOWEST_BYTES = 1024  # a second, on average over the time that a server may be silent
RETRIED_STATUSES = (408, 425, 429)  # besides 5xx: the server asks for patience
REDIRECTS = 3  # for the headers of all servers that one answer takes, so many timeouts are waited
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # what the library reads, in its order


class TransferError(Exception):
    """Why a source did not give the file, in the user's words; `lasting` where asking again is of no use."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class WrongDigestError(TransferError):
    """What a source gave has the digest `actual`, which is not the expected one; it lies at `path`."""

    def __init__(self, path: Path, actual: str, expected: str, *, kept: bool = False, lasting: bool = False) -> None:
        aside = f"; what came is kept as {path}" if kept else ""
        super().__init__(f"its md5 is {actual}, expected {expected}{aside}", lasting=lasting)
        self.path, self.actual = path, actual


def append_missing(url: str, partial: Path, *, label: str, timeout_seconds: float) -> None:
    """Ask for the bytes that `partial` still lacks and append them, block by block, as they come.

    Returns once the server has no more to give: whether the file is the right one, its digest must tell. Raises
    TransferError for every other end of the attempt; what has come until then stays in `partial`.
    """
    have = partial.stat().st_size
    # identity: a server that takes .gz for an encoding must not have it undone on the way
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with answered(url, headers, timeout_seconds=timeout_seconds) as answer:
            refuse_errors(answer)
            start, end, total = offered(answer, have)
            require_space(partial.parent, needed_bytes=total - have)
            if end > have:
                append(answer.raw, partial, start=start, end=end, label=label, timeout_seconds=timeout_seconds)
    except (requests.RequestException, HTTPError) as error:
        raise in_words(error, url, timeout_seconds, partial.stat().st_size) from None
    except OSError as error:
        if error.errno:  # of the disk
            raise
        raise TransferError(f"it cannot be asked{because_of(CERTIFICATES)}", lasting=True) from None
    except ValueError:  # of the address of a redirection, which no library checks
        raise TransferError("it leads to no usable address", lasting=True) from None
    if (size := partial.stat().st_size) < total:
        raise TransferError(f"it stopped after {size:,} of {total:,} bytes")


def answered(url: str, headers: dict[str, str], *, timeout_seconds: float) -> requests.Response:
    """The answer of a server, its body unread. Raises requests.Timeout where it does not end its headers.

    The library's own timeout begins anew with every byte, so the call is given an end.
    """
    seconds = timeout_seconds * REDIRECTS
    try:
        answer: requests.Response = within(
            seconds, requests.get, url, headers=headers, stream=True, timeout=timeout_seconds
        )
    except TimeoutError:
        raise requests.Timeout from None
    return answer


def refuse_errors(answer: requests.Response) -> None:
    """Raise TransferError for an answer that is not the file, an honest one (404) or a web page with status 200."""
    status = answer.status_code
    if status not in (200, 206, 416):
        lasting = status < 500 and status not in RETRIED_STATUSES
        raise TransferError(f"it answers {status} {http.client.responses.get(status, '')}".rstrip(), lasting=lasting)
    if status != 416 and answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise TransferError("it answers with a web page and not with the file")


def offered(answer: requests.Response, have: int) -> tuple[int, int, int]:
    """Where the body begins and ends in the file, and how long the whole file is."""
    if answer.status_code == 200:  # also what a server that knows no ranges says: the file from its beginning
        total = stated(answer.headers.get("Content-Length", ""))
        return 0, total, total
    said = re.fullmatch(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if have and answer.status_code == 416 and (not said or stated(said[3]) <= have):
        return have, have, have  # nothing lies beyond what is here
    if not said or not said[1] or int(said[1]) > have:
        raise TransferError("it answers with another range than it was asked for")
    total = stated(said[3])
    return int(said[1]), min(int(said[2]) + 1, total), total


def stated(length: str) -> int:
    """The length that a server names; without one, neither the space on the disk nor the end could be checked."""
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise TransferError("it does not say how long the file is", lasting=True)
    if int(length) == 0:
        raise TransferError("it sends nothing")
    if int(length) > MOST_BYTES:
        raise TransferError(f"it says {int(length):,} bytes; at most {MOST_BYTES:,} are fetched", lasting=True)
    return int(length)


def append(body: HTTPResponse, partial: Path, *, start: int, end: int, label: str, timeout_seconds: float) -> None:
    """Append the bytes of the body, from `start` to `end` in the file, but for those that are there already.

    Each block is in the file before the next one is asked for, so that a process that is killed at any moment loses
    the block in flight and no other. Raises requests.Timeout for a body that comes in drops.
    """
    have, position = partial.stat().st_size, start
    since, came = time.monotonic(), 0
    with partial.open("ab") as file, track(total=end - have, unit="B", label=label) as progress:
        while block := body.read1(min(BLOCK_BYTES, end - position), decode_content=False):
            fresh = block[max(have - position, 0) :]
            position, came = position + len(block), came + len(block)
            file.write(fresh)
            file.flush()
            progress.advance(len(fresh))
            if (seconds := time.monotonic() - since) > timeout_seconds:
                if came < SLOWEST_BYTES * seconds:
                    raise requests.Timeout
                since, came = time.monotonic(), 0


def in_words(error: Exception, url: str, timeout_seconds: float, have: int) -> TransferError:
    """Say what went wrong on the way without the library's text, which may hold what stands in the URL."""
    if isinstance(error, InvalidURL | LocationParseError) and not isinstance(error, InvalidProxyURL):
        return TransferError("it leads to no usable address", lasting=True)
    cause = getattr(error.args[0], "reason", None) if error.args else None
    proxy = because_of(proxy_variables(url))
    if isinstance(error, ProxyError | InvalidProxyURL):
        return TransferError(f"the proxy cannot be used{proxy}", lasting=isinstance(error, InvalidProxyURL))
    if isinstance(error, InvalidSchema) and "SOCKS" in str(error):
        return TransferError(f"the proxy needs the package PySocks{proxy}", lasting=True)
    if isinstance(error, requests.Timeout | ReadTimeoutError):
        return TransferError(f"it was silent for {timeout_seconds:g} s, or sends drop by drop{proxy}")
    if isinstance(error, SSLError):
        return TransferError(f"its certificate was not accepted{because_of(CERTIFICATES)}", lasting=True)
    if isinstance(error, InvalidSchema | requests.TooManyRedirects):
        return TransferError("it leads to no usable address", lasting=True)
    if isinstance(cause, NameResolutionError):
        return TransferError("the name of its host was not found; is there a network?")
    return TransferError(f"the connection could not be made, or broke off with {have:,} bytes here{proxy}")


def proxy_variables(url: str) -> tuple[str, ...]:
    """The variables of the environment that may name the proxy for a URL, in the library's order."""
    scheme = urlsplit(url).scheme.lower()
    bypassed = requests.utils.should_bypass_proxies(url, no_proxy=None)
    return () if bypassed else (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")


def because_of(variables: tuple[str, ...]) -> str:
    """The end of a line that names the first of these variables which is set, and its value without a password."""
    name = next((name for name in variables if os.environ.get(name)), None)
    if name is None:
        return ""
    value = os.environ[name]
    if name not in CERTIFICATES:
        return f"; {name} in the environment is {shown(value).rpartition('@')[2]}"
    return f"; {name} in the environment is {value}{'' if Path(value).exists() else ', where nothing is'}"
