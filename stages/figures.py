"""All experiments -> the paper's figures, ours beside its numbers; no stage of the pipeline, whose runs it reads."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stages import cli

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOW = ("exp", "show", "--csv", "--all-commits", "--hide-workspace", "--hide-queued", "--hide-failed")
FOLDER = Path("results/published")


def invariance(dataset: str, revision: str) -> "pd.DataFrame":
    """What the stage of this name wrote in an experiment."""
    import pandas as pd
    from dvc import api
    from dvc.exceptions import DvcException

    from exemplar.errors import UserError

    path = f"results/invariance/{dataset}-exemplar.csv"
    try:
        with api.open(path, rev=revision) as file:
            return pd.read_csv(file)
    except (OSError, ValueError, DvcException) as error:
        raise UserError(f"{path} of the experiment {revision} cannot be read ({error}); run it again") from None


def draw() -> None:
    """Draw the Figures 3 to 6 that `dvc exp show` has experiments for into results/published."""
    from exemplar.errors import UserError
    from exemplar.report import experiments, figure6, published

    shown = subprocess.run([sys.executable, "-m", "dvc", *SHOW], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise UserError(f"dvc exp show failed: {shown.stderr[-1000:]}")
    found = experiments.read(shown.stdout)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "experiments.csv").write_text(shown.stdout)
    for name, figure in published.draw(found).items():
        save(name, figure)
    save("Figure 6", figure6.draw(found, invariance))


def save(name: str, figure: "Figure | None") -> None:
    """Write a figure and say where it is, or what makes the experiments that it lacks."""
    from exemplar.io.atomic import replacing
    from exemplar.report import figures

    file = FOLDER / f"{name.lower().replace(' ', '')}.png"
    if figure is None:
        print(f"{name}: not drawn, no experiments for it; runs/{file.stem}.sh makes them")
        return
    with replacing(file) as temporary:
        temporary.write_bytes(figures.png(figure))
    print(f"{name}: {file}")


if __name__ == "__main__":
    cli.start(draw)
