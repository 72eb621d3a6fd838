"""The one kind of error that a user is meant to read, and how it is printed: on one line, and without secrets."""

import re
import sys
from contextlib import suppress

MOST_CHARACTERS, KEPT_AT_THE_END = 2000, 500
WORD = re.compile(r"\S+", re.ASCII)  # a password may hold any other space
# A user part with a space in its password: behind a colon stands what is no port, and the last @ of the line ends it.
# Lengths are bounded, so that a long text takes time in proportion to its length.
SPACED = re.compile(
    r"(?<=://)[^\s/@:?#\[]{0,200}:(?!\d{0,5}(?:[/?#]|\s(?!\S{0,200}@)|$))[^\s@]{0,200}[^\S\n][^\n]{0,200}@",
    re.ASCII,
)
QUERY = re.compile(r"(?<=\S)\?[\w.~%-]{1,100}=[^\s'\")\]}>]*", re.ASCII)
OPENING, CLOSING = "'\"([{<`", "'\")]}>`.,:;"


class UserError(Exception):
    """Something the user or the machine did wrong, told in one line: the value, what was expected, what to do."""


def reason(error: Exception) -> str:
    """What an error says, on one line; without the path, which whoever tells it names."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def public_url(url: str) -> str:
    """A URL without its user part, its query and its fragment, where passwords and tokens stand.

    A password may hold any character, so that the user part ends at the last @; where a query may begin before it,
    neither is shown.
    """
    scheme, separator, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    if at and re.search("[?#;]", before):
        return f"{scheme}://..."
    return scheme + separator + re.split("[?#;]", after, maxsplit=1)[0]


def without_secrets(text: str) -> str:
    """A text without the user part and the query of any URL in it. Takes time in proportion to its length."""
    if "://" not in text:
        return text
    return WORD.sub(lambda word: hidden(word[0]) if "://" in word[0] else word[0], SPACED.sub("", text))


def hidden(word: str) -> str:
    """A word that has a URL in it, or several, of which only the first is shown."""
    bare = word.rstrip(CLOSING)
    return public_url(bare) + word[len(bare) :]


def without_users(text: str) -> str:
    """A text without `name:password@`, which is left of a URL that was mistyped, or stands in an address of ssh."""

    def shown(word: str) -> str:
        before, at, after = word.rpartition("@")
        bare = before.lstrip(OPENING)
        return before[: len(before) - len(bare)] + "..." + at + after if ":" in bare else word

    return WORD.sub(lambda word: shown(word[0]) if "@" in word[0] else word[0], text) if "@" in text else text


def clean(text: str) -> str:
    """A text without secrets and user parts, and without queries, which are left of a URL that was mistyped too."""
    return QUERY.sub("", without_users(without_secrets(text)))


def printable(text: str) -> str:
    """A text on one line, without what moves a terminal's cursor and what no encoding holds."""
    if not text.isprintable():
        text = re.sub(r"[^ -~]", lambda sign: sign[0] if sign[0].isprintable() else " ", text)
    return " ".join(text.split())


def one_line(thing: object) -> str:
    """Anything as one line that is safe to print and short enough to read; what is cut is in the middle, and told."""
    try:
        text = str(thing)
    except Exception:  # an error's own words may fail in any way
        text = type(thing).__name__
    line = clean(printable(clean(text)))  # again, because signs became spaces, between which a URL may be
    if len(line) <= MOST_CHARACTERS:
        return line
    return f"{line[: MOST_CHARACTERS - KEPT_AT_THE_END]} [...] {line[-KEPT_AT_THE_END:]}"


def say(text: object) -> None:
    """Print one line on stderr; where it cannot be printed, the work goes on."""
    with suppress(OSError, ValueError):
        print(one_line(text), file=sys.stderr, flush=True)
