"""All experiments -> the paper's figures, ours beside its numbers; no stage of the pipeline, whose runs it reads."""

import subprocess
import sys
from pathlib import Path

from stages import cli

SHOW = ("exp", "show", "--csv", "--all-commits", "--hide-workspace", "--hide-queued", "--hide-failed")
FOLDER = Path("results/published")


def draw() -> None:
    """Draw the Figures 3 to 5 that `dvc exp show` has experiments for into results/published."""
    from exemplar import experiments, figures, published
    from exemplar.atomic import replacing
    from exemplar.errors import UserError

    shown = subprocess.run([sys.executable, "-m", "dvc", *SHOW], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise UserError(f"dvc exp show failed: {shown.stderr[-1000:]}")
    drawn = published.draw(experiments.read(shown.stdout))
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "experiments.csv").write_text(shown.stdout)
    for name, figure in drawn.items():
        file = FOLDER / f"{name.lower().replace(' ', '')}.png"
        if figure is None:
            print(f"{name}: not drawn, no experiments for it; runs/{file.stem}.sh makes them")
            continue
        with replacing(file) as temporary:
            temporary.write_bytes(figures.png(figure))
        print(f"{name}: {file}")


if __name__ == "__main__":
    cli.start(draw)
