"""Encoder and labeled dataset -> how its features and their accuracy change when the test images are transformed."""

from pathlib import Path

from stages import cli


def measure(dataset: str, method: str) -> None:
    """Measure the frozen encoder of METHOD on the central crops of DATASET's test images, under each magnitude."""
    from exemplar import invariance
    from exemplar.datasets.base import Labeled
    from exemplar.io import integrity
    from exemplar.models import saved
    from exemplar.params import naming
    from exemplar.params.load import load_params
    from exemplar.probe.protocol import Probe
    from exemplar.runtime import device
    from exemplar.tracking import runs

    settings = load_params()
    settings.require_listed(dataset, key="datasets")
    settings.require_listed(method, key="invariance.methods")
    encoder_path, labeled_folder = Path(f"data/encoders/{method}.safetensors"), Path(f"data/labeled/{dataset}")
    table_path, inputs = Path(f"results/invariance/{dataset}-{method}.csv"), [encoder_path, labeled_folder]
    integrity.require_intact(inputs)
    encoder, labeled = saved.load_encoder(encoder_path), Labeled.load(labeled_folder)
    run_settings = settings.model_dump(
        include={"random_seed": True, "probe": {dataset}, "invariance": True, "compute": {"device"}}
    )
    run_settings |= {"model": encoder.model}
    with runs.work("invariance", dataset, method, settings=run_settings, inputs=inputs, result=table_path) as (run, _):
        run.log_dataset(dataset, labeled_folder, url=naming.url_of(settings, dataset), context="training and test")
        table = invariance.measure(
            encoder,
            labeled,
            Probe(**settings.probe[dataset].model_dump()),
            images=settings.invariance.num_images,
            magnitudes=settings.invariance.magnitudes.model_dump(),
            random_seed=settings.random_seed,
            compute=device.choose(device=settings.compute.device, precision="float32"),
        )
        invariance.save(table.assign(dataset=dataset, method=method), table_path)
        run.log_tags({"dataset": dataset, "method": method})
        for step, metrics in invariance.steps(table):
            run.log_metrics(metrics, step=step)
        run.log_file(table_path)


if __name__ == "__main__":
    cli.start(measure)
