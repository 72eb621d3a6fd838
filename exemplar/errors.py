"""The one kind of error that a user is meant to read."""


class UserError(Exception):
    """Something the user or the machine did wrong, told in one line: the value, what was expected, what to do."""
