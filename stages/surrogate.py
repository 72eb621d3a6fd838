"""Seed patches and ranges -> surrogate set: the seeds' windows, what decides their samples, and the mean sample."""

from pathlib import Path

from stages import cli


def surrogate() -> None:
    """Cut the windows and measure the per-pixel mean of all samples."""
    from exemplar.datasets.base import load_images
    from exemplar.io import integrity
    from exemplar.io.atomic import put_beside, replacing
    from exemplar.io.unfinished import work_folder
    from exemplar.params.load import load_params
    from exemplar.runtime import device
    from exemplar.surrogate import build, sets
    from exemplar.surrogate.collisions import collides
    from exemplar.surrogate.seeds import Seeds

    settings = load_params()
    inputs = [Path("data/unlabeled"), Path("data/seeds.npz")]
    integrity.require_intact(inputs)
    images, seeds = load_images(inputs[0]), Seeds.load(inputs[1])
    samples, ranges = settings.surrogate.samples, settings.transformation
    draws = {"samples": samples, "ranges": ranges, "random_seed": settings.random_seed}
    with (
        work_folder("surrogate", settings=draws, inputs=inputs) as kept,
        replacing(Path("data/surrogate")) as temporary,
    ):
        built, mirrored = build.build(
            images, seeds, samples=samples, ranges=ranges, random_seed=settings.random_seed, folder=kept
        )
        leaving = f"{mirrored:.1%} leave their image and are mirrored there"
        print(f"{len(built)} samples of {len(built.label)} classes; {leaving}")
        print(f"{collides(seeds, ranges).mean():.1%} of the seeds are a legal sample of another class")
        mean = sets.measure_mean(built, device=device.choose(**settings.compute.model_dump()).device)
        temporary.mkdir()
        built.save(temporary, windows=False)
        put_beside(kept / build.WINDOWS_FILE, temporary / build.WINDOWS_FILE)
        sets.save_mean(mean, temporary)


if __name__ == "__main__":
    cli.start(surrogate)
