"""Which results a page shows, and whether they are those that lie beside it.

The page names dates, runs and seconds, so it is no output of DVC, which neither removes nor restores it: after
`dvc exp apply`, or when DVC takes the comparison out of its cache, results/report.html is an older one's.
"""

import hashlib
import sys
from pathlib import Path


def stamp_of(results: Path) -> str:
    """The md5 of params.yaml and of the tables and figures of a comparison."""
    digest = hashlib.md5(usedforsecurity=False)
    for file in (Path("params.yaml"), results / "comparison.csv", *sorted((results / "figures").iterdir())):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_current(results: Path) -> bool:
    """Whether report.html was written for the comparison that lies beside it."""
    page = results / "report.html"
    return page.exists() and f'content="{stamp_of(results)}"' in page.read_text(encoding="utf-8")


if __name__ == "__main__":  # `make repro` asks
    sys.exit(not is_current(Path(sys.argv[1])))
