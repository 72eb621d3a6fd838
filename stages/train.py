"""Method and surrogate set -> encoder and learning curve, in one process or in several."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages import cli

if TYPE_CHECKING:
    from exemplar.params.schema import Params
    from exemplar.runtime.processes import Team


def train(method: str) -> None:
    """Fit the encoder of METHOD, a file in exemplar/methods, and go on where a killed run stopped."""
    from exemplar.params.load import load_params
    from exemplar.runtime import processes

    with processes.joined() as team:
        settings = load_params()
        settings.require_listed(method, key="methods")
        if not processes.spread(["-m", "stages.train", method], device=settings.compute.device):
            fit(method, settings, team)


def fit(method: str, settings: "Params", team: "Team") -> None:
    """Do this process's part; process 0 has the run in MLflow, the checkpoint and the files."""
    from contextlib import redirect_stderr
    from functools import partial
    from importlib import import_module
    from io import StringIO
    from statistics import median

    from exemplar.datasets.base import load_images
    from exemplar.io import integrity
    from exemplar.io.examples import save_examples
    from exemplar.models import architecture, saved
    from exemplar.params import naming
    from exemplar.params.options import load_options
    from exemplar.runtime import device
    from exemplar.surrogate.sets import SurrogateSet, load_mean
    from exemplar.tracking import card, runs
    from exemplar.training.contract import Settings, TrainInputs
    from exemplar.training.record import save_curve

    inputs = [Path("data/surrogate"), Path("data/unlabeled")]
    integrity.require_intact(inputs)
    surrogate = SurrogateSet.load(inputs[0])
    fit_method = import_module(f"exemplar.methods.{method}").fit
    train_inputs = partial(
        TrainInputs,
        architecture=architecture.parse(settings.model),
        surrogate=surrogate,
        mean=load_mean(inputs[0]),
        images=load_images(inputs[1]),
        options=load_options(method, settings.tasks[method]),
        settings=Settings(**settings.train.model_dump(exclude={"recipe"})),
        recipe=settings.train.recipe,
        random_seed=settings.random_seed,
    )
    if team.rank > 0:
        with redirect_stderr(StringIO()):  # process 0 shows the progress
            fitting = fit_method(train_inputs(compute=team.choose(**settings.compute.model_dump())))
            for _ in fitting.epochs:
                pass
            fitting.examples()  # those of process 0 need what the others have
        return
    encoder_path, folder = Path(f"data/encoders/{method}.safetensors"), Path(f"results/training/{method}")
    run_settings = settings.model_dump(
        include={"model", "random_seed", "train", "compute", "unlabeled", "seeds", "surrogate", "transformation"}
    )
    run_settings["tasks"] = {method: settings.tasks[method]}
    with runs.work("train", method, settings=run_settings, inputs=inputs, result=encoder_path) as (
        run,
        unfinished,
    ):
        compute = team.choose(**settings.compute.model_dump())
        run.log_tags({"method": method, "device": device.summary(compute)})
        dataset = naming.unlabeled(settings)
        run.log_dataset(dataset, inputs[1], url=naming.url_of(settings, dataset), context="unlabeled")
        fitting = fit_method(train_inputs(compute=compute, checkpoint=unfinished / "state.pt"))
        curve = []
        for epoch in fitting.epochs:
            run.log_metrics(epoch.numbers(), step=epoch.epoch)
            curve.append(epoch)
        saved.save_encoder(fitting.finish(), encoder_path)
        save_curve(curve, folder)
        save_examples(fitting.examples(), folder)
        if curve:  # filters that were drawn and raw pixels are no news
            run.samples_per_second = median(epoch.samples_per_second for epoch in curve)
            run.log_metrics({card.PASSES: sum(epoch.encoder_passes for epoch in curve)})
            name, example = f"{method}-{settings.model}", surrogate.windows[:1].numpy()
            run.log_encoder(encoder_path, example=example, name=name, ranked_on=naming.first_dataset(settings))
            run.log_file(folder / "curve.csv")
            run.log_file(unfinished / "state.pt", folder="checkpoints")


if __name__ == "__main__":
    cli.start(train)
