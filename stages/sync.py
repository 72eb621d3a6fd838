"""What the MLflow store did not take -> the store. No stage of the pipeline: `make sync` calls it."""

import sys

from stages import cli


def send() -> None:
    """Send what earlier runs kept while the store was away; exit status 1 where something still waits."""
    from exemplar.tracking import outage

    lines = list(outage.sync())
    print("\n".join(lines) or "nothing waits")
    if outage.pending():
        sys.exit(1)


if __name__ == "__main__":
    cli.start(send)
