"""Unlabeled images -> seed patches: where each surrogate class is cut."""

from pathlib import Path

from stages import cli


def cut() -> None:
    """Draw the seeds by gradient energy."""
    from exemplar.datasets.base import load_images
    from exemplar.io import integrity
    from exemplar.io.atomic import replacing
    from exemplar.io.unfinished import work_folder
    from exemplar.params.load import load_params
    from exemplar.surrogate import seeds, supply

    settings = load_params()
    unlabeled = Path("data/unlabeled")
    integrity.require_intact([unlabeled])
    images = load_images(unlabeled)
    wanted = settings.seeds.model_dump()
    draws = {**wanted, "random_seed": settings.random_seed}
    planned = supply.plan(images, **draws)  # at once: for its digest all of a large set is read
    with work_folder("seeds", settings=draws, inputs=[unlabeled]) as kept:
        drawn = seeds.draw(images, **draws, planned=planned, kept=kept)
        with replacing(Path("data/seeds.npz")) as temporary:
            drawn.save(temporary)


if __name__ == "__main__":
    cli.start(cut)
