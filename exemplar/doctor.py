"""What this machine has, whether what was made is whole, and what an interrupted run left: one finding a line."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from exemplar.datasets.evaluation import Evaluation
from exemplar.errors import UserError, one_line
from exemplar.io import foreign, integrity, provenance, unfinished
from exemplar.io.atomic import abandoned
from exemplar.io.cache import cache_folder, cached, is_whole, members
from exemplar.io.sources import source_digest
from exemplar.params.load import load_params
from exemplar.probe.protocol import draw_C, edge
from exemplar.runtime import device
from exemplar.tracking import outage, store

PACKAGES = ("torch", "torchvision", "dvc", "mlflow", "scikit-learn", "pandas")
GIGABYTE = 1e9
ROOM_GIGABYTES = 2.0  # what `make repro` leaves in data/, results/ and the cache, ten times over


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` is what to do, empty where all is well."""

    what: str
    remedy: str = ""

    def line(self) -> str:
        """`ok` or `look`, what was found, and what to do."""
        return "look  " + one_line(f"{self.what}: {self.remedy}") if self.remedy else "ok    " + one_line(self.what)


def told(look: Iterable[Finding]) -> Iterator[Finding]:
    """What a look finds; it ends, with a line that names it, at what cannot be read or is not installed."""
    try:
        yield from look
    except UserError:  # of params.yaml or dvc.lock, which have looks of their own
        return
    except OSError as error:
        yield Finding(f"{error.filename} cannot be read ({error.strerror})", "see what it is, and who may read it")
    except ModuleNotFoundError as error:
        yield Finding(f"the package {error.name} is not installed", "pip install 'exemplar[pipeline]'")


def versions() -> Iterator[Finding]:
    """Python and the packages that results depend on."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield Finding(f"Python {sys.version.split()[0]}, {packages}")


def machine() -> Iterator[Finding]:
    """The device that `compute` in params.yaml leads to, and the room on the disk."""
    try:
        settings = load_params().compute
        summary = device.summary(device.find(**settings.model_dump()))
        yield Finding(f"params.yaml is sound; {summary}; {device.advice(settings.device)}")
    except UserError as error:
        yield Finding(f"params.yaml ({error})", "correct it; every stage stops before it begins")
    free = shutil.disk_usage(provenance.user_repository()).free / GIGABYTE
    short = free < ROOM_GIGABYTES
    yield Finding(f"{free:.1f} GB free on this disk", "make room, a stage needs some" if short else "")


def surroundings(root: Path) -> Iterator[Finding]:
    """What of the environment is known to stop something: the repository's path, the umask, TMPDIR and HOME."""
    if not str(root).isascii() or "#" in str(root):
        yield Finding(
            f"the path of the repository, {root}, has other characters than ASCII, or #: `dvc exp run` works, but DVC "
            "fails with --temp and --queue",
            "move the repository for these two",
        )
    umask = os.umask(0)
    os.umask(umask)
    if umask & 0o700:
        yield Finding(f"the umask is {umask:04o}: files that are made cannot be read or written again", "umask 022")
    for name in ("TMPDIR", "HOME"):
        if (value := os.environ.get(name)) and not os.access(value, os.W_OK | os.X_OK):
            yield Finding(f"{name} is {value}, where nothing can be written", f"set {name} to a folder that is yours")


def sources() -> Iterator[Finding]:
    """Whether the folders that datasets are made of are still those of the md5 that params.yaml names."""
    settings = load_params()
    for name in dict.fromkeys((settings.unlabeled, *settings.datasets)):
        source = settings.sources[name]
        place = Path(source.url).expanduser() if source.url else None
        if place is not None and place.is_dir():
            yield from told(compared(place, name, source.md5))


def compared(place: Path, name: str, md5: str | None) -> Iterator[Finding]:
    """Whether a dataset's folder has the md5 that params.yaml names."""
    if (found := source_digest(place)) == md5:
        yield Finding(f"{place} is what sources.{name}.md5 says")
    else:
        remedy = f"if it was changed on purpose, set it to {found}"
        yield Finding(f"{place} is not what sources.{name}.md5 says", remedy)


def outputs(root: Path) -> Iterator[Finding]:
    """Whether every output that dvc.lock names lies in the cache with the bytes that its name promises."""
    made = provenance.outputs()
    if not made:
        yield Finding("nothing was made here yet", "make repro")
    try:
        cache = cache_folder(root)
    except UserError as error:
        yield Finding(str(error), "correct .dvc/config or .dvc/config.local")
        return
    for place, md5 in made.items():
        yield from told(output(place, md5, cache))


def output(place: str, md5: str, cache: Path) -> Iterator[Finding]:
    """Whether one output is whole."""
    broken = sorted({name for name in (md5, *members(cache, md5)) if not is_whole(cached(cache, name), name)})
    if broken:
        files = shlex.join(str(cached(cache, name)) for name in broken)
        yield Finding(
            f"{place}: in the cache {files} is missing or not what its name says", f"rm -f {files}; dvc repro"
        )
    elif not Path(place).exists():
        yield Finding(f"{place} is not in the folder but in the cache", f"dvc checkout {shlex.quote(place)}")
    elif integrity.dvc_md5(Path(place)) != md5:
        yield Finding(f"{place} is not what dvc.lock says", f"dvc checkout --force {shlex.quote(place)}")
    else:
        yield Finding(f"{place} is whole, in the cache and in the folder")


def choices(made: Iterable[Path]) -> Iterator[Finding]:
    """Linear SVMs whose C is the first or the last of those that were tried; a better one may lie beyond."""
    settings = load_params()
    for path in sorted(file for folder in made for file in (folder / "evaluations" / "probe").glob("*.json")):
        try:
            record = Evaluation.load(path)
        except UserError:
            continue  # compare tells it
        if section := settings.probe.get(record.dataset):
            tried = draw_C(section.C_range, draws=section.C_draws, random_seed=settings.random_seed)
            ends = {C: edge(C, tried) for each in record.chosen if (C := each.get("C")) in tried}
            for C, end in ends.items():
                if end:
                    what = f"{path}: C is {C:.4g}, the {end} of {len(tried)} that were tried"
                    yield Finding(what, f"a wider probe.{record.dataset}.C_range may have a better one")


def leftovers(root: Path, made: Iterable[Path]) -> Iterator[Finding]:
    """What killed processes left: half-written results, half-fetched archives, unfinished trainings."""
    interrupted = unfinished.interrupted(root / ".checkpoints")
    for folder in (*made, *interrupted):
        for path in abandoned(folder):
            what = f"{path} is half a result of a killed process, which nobody reads"
            yield Finding(what, f"rm -r {shlex.quote(str(path))}")
    for path in sorted((root / "downloads").glob("*.part")):
        size = (integrity.size(path) if path.is_dir() else path.stat().st_size) / GIGABYTE
        yield Finding(f"{path} has {size:.3f} GB of a source", "dvc repro fetches the rest")
    for path in sorted((root / "downloads").glob("*.wrong-*")):
        yield Finding(f"{path} came with a wrong digest", "look at it or remove it")
    for folder in interrupted:
        named = folder.name.rpartition("-")[0]
        yield Finding(
            f"{named} was interrupted ({folder})", "the same command goes on with it; remove the folder to forget it"
        )


def broken_by_kills(root: Path) -> Iterator[Finding]:
    """Files of DVC's own that a kill met while DVC wrote them; it does not start until they are removed."""
    readers: dict[str, Callable[[bytes], object]] = {
        "dvc.lock": provenance.outputs_in,
        ".dvc/tmp/rwlock": json.loads,
        ".dvc/tmp/exps/rwlock": json.loads,
    }
    for name, read in readers.items():
        path = root / name
        try:
            content = foreign.read(path)
            read(content)
        except FileNotFoundError:
            continue
        except (ValueError, UserError, RecursionError) as error:
            if isinstance(error, UserError) and provenance.MERGING in content:
                yield Finding(
                    f"{path} holds both sides of a merge", f"git checkout --ours {shlex.quote(str(path))}, or --theirs"
                )
                continue
            finding = f"{path} is broken, as a kill leaves it: DVC does not start with it, and loses nothing without it"
            yield Finding(finding, f"rm {shlex.quote(str(path))}")


def runs() -> Iterator[Finding]:
    """Whether MLflow's store answers, and which of its runs ended without a word."""
    try:
        number, orphaned = store.census()
    except UserError as error:
        yield Finding(str(error), "stages cannot start without it")
        return
    yield Finding(f"the MLflow store {one_line(store.address())} answers and holds {number} runs")
    if orphaned:
        yield Finding(
            f"{orphaned} of them say RUNNING, but their process is gone", "the next run closes or continues them"
        )


def unsent() -> Iterator[Finding]:
    """Runs of which the store did not take all."""
    for kept in outage.pending():
        where = one_line(kept.store or "a store whose name is lost")
        yield Finding(
            f"MLflow run {kept.run_id}: {len(kept.files())} things wait for {where} ({kept.folder})", "make sync"
        )


def commit() -> Iterator[Finding]:
    """Whether git tells the commit that every run in MLflow names."""
    found = provenance.changes()
    if found.are_missed:
        yield Finding("git does not tell the commit and the changes, which runs in MLflow lack then", found.unknown)


def findings(made: Sequence[Path]) -> Iterator[Finding]:
    """Everything, in the order in which it matters; `made` are the folders that stages write to."""
    root = provenance.user_repository()
    for look in (
        versions(),
        machine(),
        surroundings(root),
        sources(),
        runs(),
        unsent(),
        commit(),
        outputs(root),
        choices(made),
        leftovers(root, made),
        broken_by_kills(root),
    ):
        yield from told(look)


def verdict(found: Sequence[Finding]) -> str:
    """What all findings come to, in one line."""
    number = sum(bool(finding.remedy) for finding in found)
    return f"{number} of {len(found)} lines need a look" if number else f"all is well, in {len(found)} lines"
