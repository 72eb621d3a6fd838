"""What the MLflow store did not take -> the store. No stage of the pipeline: `make sync` calls it."""

from stages import cli


def send() -> None:
    """Send what earlier runs kept while the store was away, and say of each run whether it is sent."""
    from exemplar.tracking import runs

    lines = list(runs.sync())
    print("\n".join(lines) or "nothing waits")


if __name__ == "__main__":
    cli.start(send)
