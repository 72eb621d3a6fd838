"""All results -> table, figures, report."""

from pathlib import Path

from stages import cli


def compare() -> None:
    """Put every row side by side, with the paper's numbers where they exist, and log one summary run."""
    from exemplar.datasets.base import Labeled
    from exemplar.datasets.evaluation import Evaluation
    from exemplar.io import integrity
    from exemplar.models.saved import load_encoder
    from exemplar.params.load import load_params
    from exemplar.report import comparison, figures, gallery, likeness, origin, page, panels, paper, per_run
    from exemplar.tracking import runs, sidecars

    settings = load_params()
    surrogate, encoders, training = Path("data/surrogate"), Path("data/encoders"), Path("results/training")
    rows = [("probe", name) for name in settings.methods] + [("finetune", name) for name in settings.finetune.methods]
    encoder_paths: dict[tuple[str, ...], Path] = {
        ("train", name): encoders / f"{name}.safetensors" for name in settings.methods
    }
    evaluations: dict[tuple[str, ...], Path] = {
        (kind, dataset, name): Path(f"results/evaluations/{kind}/{dataset}-{name}.json")
        for dataset in settings.datasets
        for kind, name in rows
    }
    curves: dict[tuple[str, ...], Path] = {
        ("invariance", dataset, name): Path(f"results/invariance/{dataset}-{name}.csv")
        for dataset in settings.datasets
        for name in settings.invariance.methods
    }
    results = encoder_paths | evaluations | curves
    first, labeled = settings.datasets[0], Path("data/labeled")
    inputs = [surrogate, labeled / first, *results.values(), *(training / name for name in settings.methods)]
    integrity.require_intact(inputs)
    records = [Evaluation.load(path, row=row) for row, path in evaluations.items()]
    invariance = panels.load(list(curves.values()))
    pictures = gallery.collect(surrogate=surrogate, encoders=encoders, training=training, methods=settings.methods)
    shown = {name: load_encoder(encoders / f"{name}.safetensors") for name in likeness.chosen(settings.methods)}
    tested = Labeled.load(labeled / first)
    made = sidecars.collect(results)
    all_settings = settings.model_dump()
    with runs.work("compare", settings=all_settings, inputs=inputs) as (run, unfinished):
        page.save(
            Path("results"),
            records=records,
            pictures=pictures,
            invariance=invariance,
            marks=paper.invariance(unlabeled=settings.unlabeled, ranges=all_settings["transformation"]),
            unlabeled=settings.unlabeled,
            settings=all_settings,
            made=made,
            origin=origin.origin(made),
            changed=origin.changed_settings(all_settings),
            likeness=likeness.collect(tested, shown, dataset=first, side=settings.probe[first].side),
            run_pages=run.pages,
        )
        run.log_metrics(comparison.flat_metrics(records))
        run.nest(sidecar.run_id for sidecar in made.values() if sidecar)
        run.log_tags({name: sidecar.run_id for name, sidecar in made.items() if sidecar})
        for file in ("report.html", "comparison.csv", "figures"):
            run.log_file(Path("results") / file)
        for run_id, name, figure in per_run.pictures(records, pictures, made):
            picture = unfinished / run_id / name  # there until the run has ended
            picture.parent.mkdir(exist_ok=True)
            picture.write_bytes(figures.png(figure))
            run.log_picture(picture, run_id=run_id)


if __name__ == "__main__":
    cli.start(compare)
