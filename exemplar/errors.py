"""The one kind of error that a user is meant to read, and how it is printed."""

import re


class UserError(Exception):
    """Something the user or the machine did wrong, told in one line: the value, what was expected, what to do."""


def reason(error: Exception) -> str:
    """What an error says, on one line; without the path, which whoever tells it names."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def without_secrets(text: str) -> str:
    """A text without the user part and the query of any URL in it, where passwords and tokens stand."""
    without_users = re.sub(r"://[^\s/'\"]*@", "://", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\",)\]>]*", r"\1", without_users)


def one_line(text: str) -> str:
    """A text on one line, also where a library that it quotes took several, and without what nobody should read."""
    return without_secrets(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
