"""Encoder and labeled dataset -> accuracy per fold of the whole network, trained further on the labels."""

from pathlib import Path

from stages import cli


def finetune(dataset: str, method: str) -> None:
    """Train the encoder of METHOD on the labels of DATASET; from random filters that is supervised training."""
    from exemplar.datasets.base import Labeled
    from exemplar.datasets.evaluation import Evaluation
    from exemplar.finetune import Finetune
    from exemplar.io import integrity
    from exemplar.models import saved
    from exemplar.params import naming
    from exemplar.params.load import load_params
    from exemplar.runtime import device
    from exemplar.tracking import runs

    settings = load_params()
    settings.require_listed(dataset, key="datasets")
    settings.require_listed(method, key="finetune.methods")
    encoder_path, labeled_folder = Path(f"data/encoders/{method}.safetensors"), Path(f"data/labeled/{dataset}")
    record_path, inputs = Path(f"results/evaluations/finetune/{dataset}-{method}.json"), [encoder_path, labeled_folder]
    integrity.require_intact(inputs)
    encoder, labeled = saved.load_encoder(encoder_path), Labeled.load(labeled_folder)
    run_settings = settings.model_dump(
        include={"random_seed", "finetune", "compute"}, exclude={"finetune": {"methods"}}
    )
    validation = settings.probe[dataset].validation
    run_settings |= {"model": encoder.model, "validation": validation}
    with runs.work("finetune", dataset, method, settings=run_settings, inputs=inputs, result=record_path) as (
        run,
        unfinished,
    ):
        run.log_dataset(dataset, labeled_folder, url=naming.url_of(settings, dataset), context="training and test")
        measured = Finetune.of(settings.finetune.model_dump(exclude={"methods"}), validation=validation).measure(
            encoder,
            labeled,
            random_seed=settings.random_seed,
            compute=device.choose(**settings.compute.model_dump()),
            unfinished=unfinished,
        )
        row = {"dataset": dataset, "method": method, "readout": "finetune"}
        Evaluation.of(measured, **row, model=encoder.model, classes=labeled.classes).save(record_path)
        ranked_on = naming.first_dataset(settings)
        run.log_evaluation(record_path, encoder=encoder_path, steps=measured.steps(), ranked_on=ranked_on, **row)


if __name__ == "__main__":
    cli.start(finetune)
