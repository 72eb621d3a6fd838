"""Seed patches and ranges -> surrogate set: the seeds' windows, their transformation table and the mean sample."""

from pathlib import Path

from stages import cli


def build() -> None:
    """Draw the table and measure the per-pixel mean of all samples."""
    from exemplar import device, intact, params, surrogate
    from exemplar.atomic import replacing
    from exemplar.datasets.base import load_images
    from exemplar.seeds import Seeds

    settings = params.load()
    unlabeled, seeds_file = Path("data/unlabeled"), Path("data/seeds.npz")
    intact.require([unlabeled, seeds_file])
    images, seeds = load_images(unlabeled), Seeds.load(seeds_file)
    built, mirrored = surrogate.build(
        images,
        seeds,
        samples=settings.surrogate.samples,
        ranges=settings.transformation,
        random_seed=settings.random_seed,
    )
    print(
        f"{len(built)} samples of {len(built.table)} classes; {mirrored:.1%} leave their image and are mirrored there"
    )
    mean = surrogate.measure_mean(built, device=device.choose(**settings.compute.model_dump()).device)
    with replacing(Path("data/surrogate")) as temporary:
        temporary.mkdir()
        built.save(temporary)
        surrogate.save_mean(mean, temporary)


if __name__ == "__main__":
    cli.start(build)
