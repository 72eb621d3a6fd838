"""All experiments -> the paper's figures, ours beside its numbers, and the spread over random seeds.

No stage of the pipeline, whose experiments it reads.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stages import cli

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FOLDER = Path("results/published")


def load_invariance(dataset: str, revision: str) -> "pd.DataFrame":
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
    """Draw Figures 3 to 6, accuracy against encoder passes, and a table over random seeds, into results/published.

    All come from what `dvc exp show` lists.
    """
    from exemplar.report import passes, published, published_figures, random_seeds, shown

    text = shown.show("--all-commits", "--hide-workspace")
    experiments = published.load(text)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "experiments.csv").write_text(text)
    for name, figure in published_figures.draw(experiments, load_invariance).items():
        save_figure(name, figure)
    save_figure("Passes", passes.draw(experiments))
    save_seeds(random_seeds.over_random_seeds(experiments))


def save_figure(name: str, figure: "Figure | None") -> None:
    """Write a figure and say where it is, or what makes the experiments that it lacks."""
    from exemplar.io.atomic import replacing
    from exemplar.report import figures

    file = FOLDER / f"{name.lower().replace(' ', '')}.png"
    if figure is None:
        maker = file.stem if name.startswith("Figure") else "tasks_cifar10"
        print(f"{name}: not drawn, no experiments for it; runs/{maker}.sh makes them")
        return
    with replacing(file) as temporary:
        temporary.write_bytes(figures.png(figure))
    print(f"{name}: {file}")


def save_seeds(rows: "pd.DataFrame") -> None:
    """Write and print mean and spread over random seeds, or say what makes the experiments that are lacking."""
    from exemplar.report import random_seeds

    if rows.empty:
        print("random seeds: no table, no experiments that differ in random_seed alone; "
              "dvc exp run --queue -S random_seed=0,1,2 and dvc queue start make them")  # fmt: skip
        return
    table = random_seeds.markdown_table(rows)
    (FOLDER / "seeds.csv").write_text(rows.to_csv(index=False))
    (FOLDER / "seeds.md").write_text(table)
    print(f"random seeds: {FOLDER / 'seeds.md'}\n\n{table}", end="")


if __name__ == "__main__":
    cli.start(draw)
