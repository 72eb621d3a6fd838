"""What a stage of these tests ends with when nothing is wrong."""


class Reached(Exception):  # noqa: N818  # no error: a stage has read all that it reads
    """A stage came to its work."""
