"""Encoder and labeled dataset -> how its features and their accuracy change when the test images are transformed."""

from pathlib import Path

from stages import cli


def measure(dataset: str, method: str) -> None:
    """Measure the frozen encoder of METHOD on the central crops of DATASET's test images, under each magnitude."""
    from exemplar import device, intact, invariance, network, params, probe
    from exemplar.datasets.base import Labeled
    from stages import checkpoint

    settings = params.load()
    encoder_file, labeled_folder = Path(f"data/encoders/{method}.safetensors"), Path(f"data/labeled/{dataset}")
    numbers = settings.model_dump(include={"model", "random_seed", "probe", "invariance", "compute"})
    name, read = f"{dataset} {method} {settings.model}", [encoder_file, labeled_folder]
    intact.require(read)
    encoder, labeled = network.load_encoder(encoder_file), Labeled.load(labeled_folder)
    with checkpoint.work("invariance", dataset, method, name=name, settings=numbers, read=read) as (run, _):
        table = invariance.measure(
            encoder,
            labeled,
            probe.Probe(**settings.probe[dataset].model_dump()),
            images=settings.invariance.images,
            magnitudes=settings.invariance.magnitudes.model_dump(),
            random_seed=settings.random_seed,
            compute=device.choose(**settings.compute.model_dump()),
        )
        file = Path(f"results/invariance/{dataset}-{method}.csv")
        invariance.save(table.assign(dataset=dataset, method=method, run_id=run.id), file)
        run.log_tags({"dataset": dataset, "method": method})
        for step, metrics in invariance.steps(table):
            run.log_metrics(metrics, step=step)
        run.log_file(file)


if __name__ == "__main__":
    cli.start(measure)
