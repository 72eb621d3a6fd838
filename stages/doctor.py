"""The machine and the repository -> one line per finding. No stage of the pipeline: `make doctor` calls it."""

from pathlib import Path

from stages import cli


def examine() -> None:
    """Say what this machine has, whether what was made is whole, and what an interrupted run left."""
    from exemplar import doctor

    found = list(doctor.findings([Path("data"), Path("results")]))
    print("\n".join([doctor.verdict(found), *(finding.line() for finding in found)]), flush=True)


if __name__ == "__main__":
    cli.start(examine)
