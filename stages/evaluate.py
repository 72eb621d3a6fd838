"""Encoder and labeled dataset -> accuracy per fold, for one row of the comparison."""

from pathlib import Path

from stages import cli


def evaluate(dataset: str, method: str) -> None:
    """Measure METHOD on DATASET with the readout that the method's file names."""
    import time
    from importlib import import_module

    from exemplar import device, finetune, intact, network, params, probe, training
    from exemplar.datasets.base import Labeled
    from exemplar.evaluation import Evaluation
    from stages import checkpoint

    settings = params.load()
    encoder_file, labeled_folder = Path(f"data/encoders/{method}.safetensors"), Path(f"data/labeled/{dataset}")
    tuning = settings.finetune.model_dump()
    readouts: dict[str, probe.Probe | finetune.Finetune] = {
        "probe": probe.Probe(**settings.probe[dataset].model_dump()),
        "finetune": finetune.Finetune(
            squares=tuning.pop("squares"),
            scales=tuning.pop("scales"),
            schedule=training.Settings(**tuning, section="finetune"),
            ranges=settings.transformation,
        ),
    }
    readout = import_module(f"exemplar.methods.{method}").READOUT
    record_file = Path(f"results/evaluations/{dataset}-{method}.json")
    numbers = settings.model_dump(include={"model", "random_seed", "probe", "finetune", "transformation", "compute"})
    name, read = f"{dataset} {method} {settings.model}", [encoder_file, labeled_folder]
    intact.require(read)
    encoder, labeled = network.load_encoder(encoder_file), Labeled.load(labeled_folder)
    with checkpoint.work("evaluate", dataset, method, name=name, settings=numbers, read=read) as (run, unfinished):
        started = time.monotonic()
        measured = readouts[readout].measure(
            encoder,
            labeled,
            random_seed=settings.random_seed,
            compute=device.choose(**settings.compute.model_dump()),
            unfinished=unfinished,
        )
        record = Evaluation(
            dataset=dataset,
            method=method,
            model=encoder.model,
            readout=readout,
            accuracy=list(measured.accuracy),
            class_accuracy=list(measured.class_accuracy),
            cost=measured.cost,
            training_samples=measured.training_samples,
            seconds=time.monotonic() - started,
            classes=list(labeled.classes),
            confusion=measured.confusion.tolist(),
            run_id=run.id,
        )
        record.save(record_file)
        run.log_tags({"dataset": dataset, "method": method, "readout": readout})
        for step, numbers in measured.steps():
            run.log_metrics(numbers, step=step)
        run.log_file(record_file)


if __name__ == "__main__":
    cli.start(evaluate)
