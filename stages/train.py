"""Method and surrogate set -> encoder and learning curve, in one process or in several."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages import cli

if TYPE_CHECKING:
    from exemplar.params import Params
    from exemplar.team import Team


def train(method: str) -> None:
    """Fit the encoder of METHOD, a file in exemplar/methods, and go on where a killed run stopped."""
    from exemplar import params, team

    with team.joined() as processes:
        settings = params.load()
        if team.spread(["-m", "stages.train", method], device=settings.compute.device):
            return
        fit(method, settings, processes)


def fit(method: str, settings: "Params", processes: "Team") -> None:
    """Do this process's part; process 0 has the run in MLflow, the checkpoint and the files."""
    from contextlib import redirect_stderr
    from functools import partial
    from importlib import import_module
    from io import StringIO

    from exemplar import architecture, device, intact, network, training
    from exemplar.surrogate import SurrogateSet, load_mean
    from stages import checkpoint

    read = [Path("data/surrogate")]
    numbers = settings.model_dump(include={"model", "random_seed", "train", "compute"})
    intact.require(read)
    surrogate = SurrogateSet.load(read[0])
    begin = partial(
        import_module(f"exemplar.methods.{method}").fit,
        architecture.parse(settings.model),
        surrogate,
        mean=load_mean(read[0]),
        settings=training.Settings(**settings.train.model_dump()),
        random_seed=settings.random_seed,
    )
    if processes.rank > 0:
        with redirect_stderr(StringIO()):  # process 0 shows the progress
            for _ in begin(compute=processes.choose(**settings.compute.model_dump()), checkpoint=None)[1]:
                pass
        return
    encoder_file, folder = Path(f"data/encoders/{method}.safetensors"), Path(f"results/training/{method}")
    name = f"{method} {settings.model}"
    with checkpoint.work("train", method, name=name, settings=numbers, read=read) as (run, unfinished):
        state = unfinished / "state.pt"
        compute = processes.choose(**settings.compute.model_dump())
        run.log_tags({"method": method, "device": device.describe(compute)})
        encoder, epochs = begin(compute=compute, checkpoint=state)
        curve = []
        for epoch in epochs:
            run.log_metrics(epoch.numbers(), step=epoch.epoch)
            curve.append(epoch)
        network.save_encoder(encoder, encoder_file)
        training.save_record(curve, folder, run_id=run.id)
        if curve:  # filters that were drawn and raw pixels are no news
            run.log_encoder(encoder_file, example=surrogate.windows[:1].numpy())
            run.log_file(folder / "curve.csv")
            run.log_file(state, folder="checkpoints")


if __name__ == "__main__":
    cli.start(train)
