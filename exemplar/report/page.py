"""All results of a pipeline, as one self-contained page."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from exemplar.datasets import intervals
from exemplar.datasets.evaluation import Evaluation
from exemplar.io.atomic import replacing
from exemplar.io.examples import Examples
from exemplar.params.dotted import flatten
from exemplar.report import answers, comparison, families, figures, panels, paper, sheets, told
from exemplar.report.families import SUPERVISED
from exemplar.report.gallery import Gallery
from exemplar.report.likeness import Likeness
from exemplar.report.stamp import stamp_of
from exemplar.tracking.sidecars import Sidecar

ELSEWHERE = "made elsewhere"


@dataclass(frozen=True)
class Cost:
    """What a row is, in a few words, and what it cost; texts, with a dash for what is not known."""

    words: str
    passes: str
    minutes: str


def page(
    *,
    records: Sequence[Evaluation],
    unlabeled: str,
    curves: Mapping[str, pd.DataFrame],
    filters: Mapping[str, Float[np.ndarray, "_ 3 _ _"]],
    exciting: Mapping[str, UInt8[np.ndarray, "_ _ 3 32 32"]],
    seeds: UInt8[np.ndarray, "n 3 h w"],
    samples: UInt8[np.ndarray, "classes k 3 h w"],
    invariance: pd.DataFrame,
    marks: pd.DataFrame,
    settings: Mapping[str, Any],
    made: Mapping[str, Sidecar | None],
    origin: Mapping[str, str],
    changed: Sequence[tuple[str, object, object]],
    stamp: str,
    examples: Mapping[str, Sequence[Examples]] | None = None,
    likeness: Likeness | None = None,
    run_pages: str = "",
) -> str:
    """Write the page: it carries its images inside, needs no script and asks no other address for anything.

    `curves`, `filters`, `exciting` and `examples` are keyed by the encoder's name, `invariance` is what `panels.load`
    reads, `marks` what `paper.invariance` finds, `made` what `sidecars.collect` finds, `origin` and `changed` what
    `origin.py` finds, and `stamp` names the results that are shown; MLflow shows a run at `run_pages` and its id.
    """
    table = comparison.table(records, unlabeled=unlabeled)
    rows, datasets = families.arranged(table), list(table["dataset"].unique())
    trained = {name: frame for name, frame in curves.items() if len(frame)}
    costs = {(record.dataset, record.title): cost(record, trained, made) for record in records}
    subject = costs[table["dataset"].iloc[0], table["method"].iloc[0]]
    template = files("exemplar.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    # Autoescape: names of datasets, classes and files come from users' folders.
    engine = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return engine.from_string(template).render(
        headline=answers.headline(table),
        facts=answers.facts(
            table, asked=told.asks(table["method"].iloc[0]), passes=subject.passes, minutes=subject.minutes
        ),
        groups=[
            (dataset, [(name, part.to_dict("records")) for name, part in group.groupby("family", sort=False)])
            for dataset, group in rows.groupby("dataset", sort=False)
        ],
        families=families.FAMILIES,
        baseline=families.baseline(records).title,
        ahead=families.from_baseline(records),
        differences={
            dataset: [pair.sentence() for pair in families.pairs([row for row in records if row.dataset == dataset])]
            for dataset in datasets
        },
        examples=examples or {},
        asks=told.asks,
        percent=comparison.percent,
        span=intervals.span,
        signed=comparison.signed,
        ends=comparison.ends,
        chances={record.dataset: answers.chance(len(record.classes)) for record in records},
        has_paper=bool(rows["paper_accuracy"].notna().any()),
        copies={record.dataset: record.copies for record in records if record.copies},
        costs=costs,
        origin=origin,
        changed=changed,
        readouts={name: label for name, (label, _) in figures.READOUTS.items()},
        accuracy=data_uri(figures.accuracy_bars(rows)),
        curves=data_uri(figures.learning_curves(trained)) if trained else None,
        training=[(name, frame.iloc[-1], speed(made.get(f"train.{name}"))) for name, frame in trained.items()],
        passes={name: int(frame["encoder_passes"].sum()) for name, frame in trained.items()},
        filters=data_uri(sheets.filter_sheet(filters)) if filters else None,
        exciting=data_uri(sheets.exciting_sheet(some))
        if (some := {k: v for k, v in exciting.items() if len(v)})
        else None,
        seeds=data_uri(sheets.seed_sheet(seeds)),
        samples=data_uri(sheets.sample_sheet(samples)),
        invariance=[(dataset, data_uri(figure)) for dataset, figure in invariances(invariance, marks)],
        marked=set(marks["dataset"]),
        confusions=[(title(record), data_uri(confusion(record))) for record in records],
        competitors=paper.competitors(),
        unlabeled=unlabeled,
        settings=list(flatten(settings).items()),
        seconds={(record.dataset, record.title): seconds(made.get(key(record))) for record in records},
        made=made,
        runs={name: sidecar.run_id if sidecar else ELSEWHERE for name, sidecar in made.items()},
        stamp=stamp,
        likeness=likeness,
        run_pages=run_pages,
    )


def cost(
    record: Evaluation,
    trained: Mapping[str, pd.DataFrame],
    made: Mapping[str, Sidecar | None],
) -> Cost:
    """What a row is and what it cost: an encoder that was not trained has seen no samples and took no time."""
    learnt, encoder = record.method in trained, made.get(f"train.{record.method}")
    parts = [made.get(key(record)), *([encoder] if learnt else [])]
    known = [part.seconds for part in parts if part]
    read = "linear SVM" if record.readout == "probe" else "fine-tuned on labels"
    return Cost(
        "The same network, trained on labels alone"
        if record.row == SUPERVISED
        else f"{told.what_is(record.method)}, {read}",
        f"{int(trained[record.method]['encoder_passes'].sum()):,}" if learnt else "0",
        f"{sum(known) / 60:.1f}" if len(known) == len(parts) else "–",
    )


def key(record: Evaluation) -> str:
    """A record's key in `made`."""
    return f"{record.readout}.{record.dataset}.{record.method}"


def seconds(sidecar: Sidecar | None) -> str:
    """How long a result took, if it was made here."""
    return f"{sidecar.seconds:.1f}" if sidecar else ELSEWHERE


def speed(sidecar: Sidecar | None) -> str:
    """The samples a second of a training, if it took place here."""
    return f"{sidecar.samples_per_second:,.0f}" if sidecar and sidecar.samples_per_second else ELSEWHERE


def title(record: Evaluation) -> str:
    """What a record is called above its picture."""
    return f"{record.title} on {record.dataset}"


def invariances(table: pd.DataFrame, marks: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """The curves of every dataset."""
    for dataset, rows in table.groupby("dataset", sort=False):
        yield str(dataset), panels.invariance_curves(rows, marks[marks["dataset"] == dataset])


def confusion(record: Evaluation) -> Figure:
    """The confusion matrix of a record."""
    return figures.confusion_matrix(np.array(record.confusion), classes=record.classes, title=title(record))


def data_uri(figure: Figure) -> str:
    """A figure as the address of an image that the page carries inside."""
    return f"data:image/png;base64,{base64.b64encode(figures.png(figure)).decode()}"


def save(
    folder: Path,
    *,
    records: Sequence[Evaluation],
    pictures: Gallery,
    invariance: pd.DataFrame,
    marks: pd.DataFrame,
    unlabeled: str,
    settings: Mapping[str, Any],
    made: Mapping[str, Sidecar | None],
    origin: Mapping[str, str],
    changed: Sequence[tuple[str, object, object]],
    likeness: Likeness,
    run_pages: str,
) -> None:
    """Write comparison.csv, metrics.json, figures and, last, the page that shows them, report.html, into `folder`."""
    rows = comparison.table(records, unlabeled=unlabeled)
    save_text(folder / "comparison.csv", rows.to_csv(index=False))
    save_text(folder / "metrics.json", json.dumps(comparison.metrics(records), indent=1) + "\n")
    save_figures(folder / "figures", rows, pictures=pictures, invariance=invariance, marks=marks)
    html = page(
        records=records,
        unlabeled=unlabeled,
        curves=pictures.curves,
        filters=pictures.filters,
        exciting=pictures.exciting,
        seeds=pictures.seeds,
        samples=pictures.samples,
        invariance=invariance,
        marks=marks,
        settings=settings,
        made=made,
        origin=origin,
        changed=changed,
        stamp=stamp_of(folder),
        examples=pictures.examples,
        likeness=likeness,
        run_pages=run_pages,
    )
    save_text(folder / "report.html", html)


def save_text(path: Path, text: str) -> None:
    """Write a text whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_figures(
    folder: Path, rows: pd.DataFrame, *, pictures: Gallery, invariance: pd.DataFrame, marks: pd.DataFrame
) -> None:
    """Write the pictures and the table for the README."""
    names = [name for name in (*rows["method"], *pictures.filters) if name in pictures.filters]
    overview = sheets.overview(
        table=rows, seeds=pictures.seeds, samples=pictures.samples, filters=pictures.filters[names[0]]
    )
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "overview.png").write_bytes(figures.png(overview))
        (temporary / "accuracy.png").write_bytes(figures.png(figures.accuracy_bars(rows)))
        for dataset, figure in invariances(invariance, marks):
            (temporary / f"invariance-{dataset}.png").write_bytes(figures.png(figure))
        (temporary / "table.md").write_text(comparison.markdown_table(rows), encoding="utf-8")
