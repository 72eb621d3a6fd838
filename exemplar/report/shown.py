"""The table of experiments that DVC prints, and what of it is read."""

import subprocess
import sys
from io import StringIO

import pandas as pd

from exemplar.errors import UserError


def show(*options: str) -> str:
    """What `dvc exp show --csv` prints of the experiments that ended; raises UserError with DVC's words if it fails."""
    command = [sys.executable, "-m", "dvc", "exp", "show", "--csv", "--hide-queued", "--hide-failed", *options]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise UserError(f"dvc exp show failed ({error.stderr.strip()[-500:]}); run it in the repository") from None


def parse(text: str, *columns: str) -> pd.DataFrame:
    """The cells of that table as they are printed. Raises UserError for a text that lacks one of these columns."""
    try:
        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    except ValueError:
        table = pd.DataFrame()
    if not {*columns} <= {*table}:
        raise UserError(f"{text[:60]!r} is no table of experiments; expected what `dvc exp show --csv` prints")
    return table
