"""One dataset: fetch, verify, turn into arrays."""

from enum import StrEnum
from pathlib import Path

from stages import cli


class Part(StrEnum):
    """The two sides of a dataset, each an output of its own."""

    UNLABELED = "unlabeled"
    LABELED = "labeled"


def download(part: Part, dataset: str) -> None:
    """Write DATASET's unlabeled images to data/unlabeled, or its labeled ones to data/labeled/DATASET."""
    from importlib import import_module

    from exemplar.datasets.base import UNFINISHED
    from exemplar.datasets.fetching.fetch import fetch
    from exemplar.errors import UserError
    from exemplar.io import provenance
    from exemplar.io.atomic import replacing
    from exemplar.io.unfinished import work_folder
    from exemplar.params.load import load_params

    settings = load_params()
    if dataset not in settings.sources:
        raise UserError(f"dataset {dataset!r} is unknown; expected one of {', '.join(settings.sources)}")
    source = settings.sources[dataset]
    cli.require_apart({dataset: source})
    downloads = provenance.user_repository() / "downloads"
    module = import_module(f"exemplar.datasets.{dataset}")
    archive = (
        fetch(
            [source.url, *source.mirrors],
            md5=source.md5,
            folder=downloads,
            section=f"sources.{dataset}",
            require_usable=getattr(module, "require_usable", None),
        )
        if source.url
        else None
    )
    write = module.write_unlabeled if part is Part.UNLABELED else module.write_labeled
    place = Path("data/unlabeled") if part is Part.UNLABELED else Path("data/labeled") / dataset
    made_of = {**source.model_dump(), "part": part}
    with work_folder("download", dataset, settings=made_of, inputs=[]) as kept, replacing(place) as folder:
        folder.mkdir()
        (folder / UNFINISHED).symlink_to(kept)
        write(archive, folder, **source.options)
        (folder / UNFINISHED).unlink()


if __name__ == "__main__":
    cli.start(download)
