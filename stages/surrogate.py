"""Seed patches and ranges -> surrogate set: the seeds' windows, their transformation table and the mean sample."""

from pathlib import Path

from stages import cli


def build() -> None:
    """Draw the table and measure the per-pixel mean of all samples."""
    from exemplar import device, params, surrogate
    from exemplar.atomic import replacing
    from exemplar.datasets.base import load_images
    from exemplar.seeds import Seeds

    settings = params.load()
    images, seeds = load_images(Path("data/unlabeled")), Seeds.load(Path("data/seeds.npz"))
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
