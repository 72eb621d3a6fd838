"""Unlabeled images -> seed patches: where each surrogate class is cut."""

from pathlib import Path

from stages import cli


def cut() -> None:
    """Draw the seeds by gradient energy."""
    from exemplar.datasets.base import load_images
    from exemplar.io import integrity
    from exemplar.io.atomic import replacing
    from exemplar.params.load import load_params
    from exemplar.surrogate import seeds

    settings = load_params()
    unlabeled = Path("data/unlabeled")
    integrity.require_intact([unlabeled])
    images = load_images(unlabeled)
    drawn = seeds.draw(images, **settings.seeds.model_dump(), random_seed=settings.random_seed)
    with replacing(Path("data/seeds.npz")) as temporary:
        drawn.save(temporary)


if __name__ == "__main__":
    cli.start(cut)
