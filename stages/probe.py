"""Encoder and labeled dataset -> accuracy per fold of a linear SVM on its frozen features."""

from pathlib import Path

from stages import cli


def probe(dataset: str, method: str) -> None:
    """Measure the frozen encoder of METHOD on DATASET."""
    from exemplar.datasets.base import Labeled
    from exemplar.datasets.evaluation import Evaluation
    from exemplar.io import integrity
    from exemplar.models import saved
    from exemplar.params import naming
    from exemplar.params.load import load_params
    from exemplar.probe.protocol import Probe
    from exemplar.runtime import device
    from exemplar.tracking import runs

    settings = load_params()
    settings.require_listed(dataset, key="datasets")
    settings.require_listed(method, key="methods")
    encoder_path, labeled_folder = Path(f"data/encoders/{method}.safetensors"), Path(f"data/labeled/{dataset}")
    record_path, inputs = Path(f"results/evaluations/probe/{dataset}-{method}.json"), [encoder_path, labeled_folder]
    integrity.require_intact(inputs)
    encoder, labeled = saved.load_encoder(encoder_path), Labeled.load(labeled_folder)
    run_settings = settings.model_dump(include={"random_seed": True, "probe": {dataset}, "compute": {"device"}}) | {
        "model": encoder.model
    }
    with runs.work("probe", dataset, method, settings=run_settings, inputs=inputs, result=record_path) as (
        run,
        unfinished,
    ):
        run.log_dataset(dataset, labeled_folder, url=naming.url_of(settings, dataset), context="training and test")
        measured = Probe(**settings.probe[dataset].model_dump()).measure(
            encoder,
            labeled,
            random_seed=settings.random_seed,
            compute=device.choose(device=settings.compute.device, precision="float32"),
            unfinished=unfinished,
        )
        row = {"dataset": dataset, "method": method, "readout": "probe"}
        Evaluation.of(measured, **row, model=encoder.model, classes=labeled.classes).save(record_path)
        ranked_on = naming.first_dataset(settings)
        run.log_evaluation(record_path, encoder=encoder_path, steps=measured.steps(), ranked_on=ranked_on, **row)


if __name__ == "__main__":
    cli.start(probe)
