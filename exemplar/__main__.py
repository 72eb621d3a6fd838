"""The command `exemplar`: features of your own pictures, their neighbours, and what a network costs.

Results go to stdout, progress and mistakes to stderr, so that `--json` can be piped into a program. Nothing that is
there is overwritten unasked. Libraries are imported when a command needs them, so that --help answers at once.
"""

import errno
import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from exemplar import __version__
from exemplar.errors import UserError, printable
from exemplar.errors import say as report
from exemplar.runtime.signals import sigterm_raises
from exemplar.runtime.streams import make_unfailing
from exemplar.use.shipped import SHIPPED

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its import takes longer than all else that --help does
)
SAYS = "A .safetensors file, or in MLflow a training's run (its id or name) or a registered model (model@champion)."
Encoder = Annotated[str, typer.Option(help=SAYS, show_default="the one that ships, of CIFAR-10")]
Side = Annotated[int, typer.Option(min=1, help="Pixels that a picture's largest middle square is scaled to.")]
Cells = Annotated[int, typer.Option(min=1, help="Every layer's map is max-pooled in CELLS x CELLS cells.")]
Device = Annotated[str, typer.Option(help="auto (CUDA where there is one), cpu or cuda.")]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Pass over unreadable pictures, and name them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_version(asked: bool) -> bool:
    """Print the version and leave, where that is asked for."""
    if asked:
        print(__version__)
        raise typer.Exit
    return asked


@app.callback()
def begin(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Features of pictures by an encoder that was trained without labels."""


@app.command()
def features(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders with pictures in and below them.")],
    out: Annotated[Path, typer.Option(help="F.npy, whose rows F.txt names, or F.parquet.")],
    encoder: Encoder = str(SHIPPED),
    side: Side = 96,
    cells: Cells = 2,
    device: Device = "auto",
    skip_broken: SkipBroken = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the features of PICTURES, a row each."""
    from exemplar.use import tables
    from exemplar.use.loaded import load_encoder
    from exemplar.use.pictures import Reader, find, iter_features

    with tables.explained(out):
        tables.require_writable(out, overwrite=overwrite)
    paths = find(pictures)
    loaded = load_encoder(encoder, cells=(cells,)).to(chosen(device))
    loaded.require_size(side, side)
    reader = Reader(side, skip_broken)
    with tables.explained(out):
        count, width = tables.save(iter_features(loaded, paths, reader), out)
    told = {"out": str(out), "pictures": count, "features": width, "model": loaded.model, "skipped": reader.skipped}
    left = f", {len(reader.skipped)} skipped" if reader.skipped else ""
    say(told, f"{out}: {count} pictures{left}, {width} features each", as_json=as_json)


@app.command()
def neighbours(
    picture: Annotated[Path, typer.Argument(help="The picture whose like are sought.")],
    among: Annotated[Path, typer.Argument(help="A folder with pictures, or what `exemplar features` wrote of them.")],
    encoder: Encoder = str(SHIPPED),
    count: Annotated[int, typer.Option(min=1, help="How many are told.")] = 10,
    side: Side = 96,
    cells: Cells = 2,
    device: Device = "auto",
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Name the pictures of AMONG that are most like PICTURE.

    The best come first, by the cosine of their features, averaged over the layers.
    """
    from dataclasses import asdict

    from exemplar.io.sources import is_there
    from exemplar.use import tables
    from exemplar.use.loaded import load_encoder
    from exemplar.use.neighbours import nearest, require_made_by
    from exemplar.use.pictures import Reader, find, iter_features

    if is_there(picture) and picture.is_dir():
        raise UserError(f"{picture} is a folder; expected the one picture whose like are sought")
    tables.require_searchable(among)
    (sought,), others = find([picture]), None if among.is_file() else find([among])
    loaded = load_encoder(encoder, cells=(cells,)).to(chosen(device))
    loaded.require_size(side, side)
    own = loaded.features(sought, side=side)
    if others is None:
        require_made_by(lambda path: loaded.features(path, side=side), tables.load(among), file=among)
    rows = tables.load(among) if others is None else iter_features(loaded, others, Reader(side, skip_broken))
    found = nearest(own, rows, widths=loaded.block_widths(side), count=count)
    lines = "\n".join(f"{neighbour.similarity:.3f}  {printable(neighbour.picture)}" for neighbour in found)
    say([asdict(neighbour) for neighbour in found], lines, as_json=as_json)


@app.command()
def describe(
    model: Annotated[str, typer.Argument(help="A model string such as 64c5-128c5-256c5-512f, or an encoder's file.")],
    side: Annotated[int, typer.Option(min=1, help="Pixels of the images on each side.")] = 96,
    cells: Cells = 2,
    as_json: AsJson = False,
) -> None:
    """Print the layers of MODEL and what they cost.

    Their shapes, parameters and multiply-adds, before anyone trains it.
    """
    from exemplar.use import describe as description

    told = description.as_json(description.string_of(model), side=side, cells=cells)
    say(told, description.as_text(told, cells=cells), as_json=as_json)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="F.onnx, or F.pt2 for PyTorch alone.")],
    encoder: Encoder = str(SHIPPED),
    side: Side = 96,
    cells: Cells = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an encoder that runs without this project.

    A file from images, RGB between 0 and 1, to their features.
    """
    from exemplar.use import tables
    from exemplar.use.export import export as write
    from exemplar.use.export import formats
    from exemplar.use.loaded import load_encoder

    formats(out)
    with tables.explained(out):
        tables.require_free(out, overwrite=overwrite)
    loaded = load_encoder(encoder, cells=(cells,))
    with tables.explained(out):
        difference = write(loaded, out, side=side)
    told = {"out": str(out), "model": loaded.model, "side": side, "largest_difference": difference}
    text = f"{out}: images [n 3 {side} {side}] to features; run once, they differ by {difference:.0e} of the largest"
    say(told, text, as_json=as_json)


@app.command()
def table(as_json: AsJson = False) -> None:
    """Print all experiments of this repository.

    Of each its name, what was changed and the accuracy of each row.
    """
    try:
        from exemplar.report import experiments
    except ModuleNotFoundError as error:
        raise UserError(f"the table needs {error.name}; run pip install 'exemplar[pipeline]'") from None

    listed = experiments.read(experiments.show())
    say(experiments.as_json(listed), experiments.as_text(listed), as_json=as_json)


def chosen(device: str) -> str:
    """The device that a word means; raises UserError for one that is not there."""
    from exemplar.runtime.device import choose

    return str(choose(device=device, precision="float32").device)


def say(told: object, text: str, *, as_json: bool) -> None:
    """Print a result, for programs or for people."""
    print(json.dumps(told) if as_json else text)


def main() -> None:
    """Run the command; exit status 1 and one line on stderr for a mistake of the user or the machine."""
    make_unfailing("stderr")  # what it prints on stdout is its result
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name may be any bytes, and an encoding lack a character
    try:
        with sigterm_raises():
            app()
    except UserError as error:
        fail(str(error))
    except BrokenPipeError:
        sys.exit(0)  # whoever reads has read enough
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        fail(f"{error.filename or 'the output'}: {error.strerror}; make room or change its permissions")


def fail(message: str) -> None:
    """Say what was wrong on one line and leave."""
    report(f"error: {message}")
    sys.exit(1)


if __name__ == "__main__":
    main()
