"""params.yaml -> data/checked: no stage runs, and no earlier result is touched, before all of it makes sense.

And data/parts, where DVC sees of what else than its own file each method is made.
"""

from pathlib import Path

from stages import cli

METHODS = "exemplar/methods"


def check() -> None:
    """Read params.yaml strictly; the first mistake in it is told in one line."""
    from exemplar.io.atomic import replacing
    from exemplar.io.sources import digest
    from exemplar.params.load import load_params

    settings, parts = load_params(), dict[str, list[str]]()
    cli.require_apart(settings.sources)
    for method in settings.methods:
        parts[method] = []
        if settings.tasks[method]:  # only then its file is worth the seconds that PyTorch takes to load
            from exemplar.params.options import load_options

            parts[method] = sorted(getattr(load_options(method, settings.tasks[method]), "parts", ()))
    with replacing(Path("data/parts")) as temporary:
        temporary.mkdir()
        for method, names in parts.items():
            lines = [f"{digest(Path(METHODS) / f'{name}.py')} {name}\n" for name in names]
            (temporary / f"{method}.txt").write_text("".join(lines) or "no other method\n")
    with replacing(Path("data/checked")) as temporary:
        temporary.write_text("params.yaml was read without a mistake\n")


if __name__ == "__main__":
    cli.start(check)
