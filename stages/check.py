"""params.yaml -> data/checked: no stage runs, and no earlier result is touched, before all of it makes sense."""

from pathlib import Path

from stages import cli


def check() -> None:
    """Read params.yaml strictly; the first mistake in it is told in one line."""
    from exemplar.io.atomic import replacing
    from exemplar.params.load import load_params

    settings = load_params()
    for method in settings.methods:
        if settings.tasks[method]:  # only then its file is worth the seconds that PyTorch takes to load
            from exemplar.params.options import load_options

            load_options(method, settings.tasks[method])
    with replacing(Path("data/checked")) as temporary:
        temporary.write_text("params.yaml was read without a mistake\n")


if __name__ == "__main__":
    cli.start(check)
