"""Method and surrogate set -> encoder and learning curve."""

from pathlib import Path

from stages import cli


def train(method: str) -> None:
    """Fit the encoder of METHOD, a file in exemplar/methods, and go on where a killed run stopped."""
    from importlib import import_module

    from exemplar import architecture, device, intact, network, params, tracking, training
    from exemplar.surrogate import SurrogateSet, load_mean
    from stages import checkpoint

    settings = params.load()
    read = [Path("data/surrogate")]
    numbers = settings.model_dump(include={"model", "random_seed", "train", "compute"})
    intact.require(read)
    surrogate, mean = SurrogateSet.load(read[0]), load_mean(read[0])
    encoder_file, folder = Path(f"data/encoders/{method}.safetensors"), Path(f"results/training/{method}")
    name = f"{method} {settings.model}"
    with (
        checkpoint.place(f"train-{method}", settings=numbers, read=read) as unfinished,
        tracking.run(stage="train", name=name, parameters=numbers, read=read, marker=unfinished / "run") as run,
    ):
        state = unfinished / "state.pt"
        run.log_tags({"method": method})
        encoder, epochs = import_module(f"exemplar.methods.{method}").fit(
            architecture.parse(settings.model),
            surrogate,
            mean=mean,
            settings=training.Settings(**settings.train.model_dump()),
            compute=device.choose(**settings.compute.model_dump()),
            random_seed=settings.random_seed,
            checkpoint=state,
        )
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
