"""Seed patches and ranges -> surrogate set: the seeds' windows, what decides their samples, and the mean sample."""

from pathlib import Path

from stages import cli


def surrogate() -> None:
    """Cut the windows and measure the per-pixel mean of all samples."""
    from exemplar.datasets.base import load_images
    from exemplar.io import integrity
    from exemplar.io.atomic import replacing
    from exemplar.params.load import load_params
    from exemplar.runtime import device
    from exemplar.surrogate import build, sets
    from exemplar.surrogate.collisions import collides
    from exemplar.surrogate.seeds import Seeds

    settings = load_params()
    unlabeled, seeds_path = Path("data/unlabeled"), Path("data/seeds.npz")
    integrity.require_intact([unlabeled, seeds_path])
    images, seeds = load_images(unlabeled), Seeds.load(seeds_path)
    with replacing(Path("data/surrogate")) as temporary:
        temporary.mkdir()
        built, mirrored = build.build(
            images,
            seeds,
            samples=settings.surrogate.samples,
            ranges=settings.transformation,
            random_seed=settings.random_seed,
            windows_file=temporary / "windows.npy",
        )
        leaving = f"{mirrored:.1%} leave their image and are mirrored there"
        print(f"{len(built)} samples of {len(built.label)} classes; {leaving}")
        print(f"{collides(seeds, settings.transformation).mean():.1%} of the seeds are a legal sample of another class")
        mean = sets.measure_mean(built, device=device.choose(**settings.compute.model_dump()).device)
        built.save(temporary, windows=False)
        sets.save_mean(mean, temporary)


if __name__ == "__main__":
    cli.start(surrogate)
