"""All results -> table, figures, report."""

from pathlib import Path

from stages import cli


def compare() -> None:
    """Put every row side by side, with the paper's numbers where they exist, and log one summary run."""
    from exemplar.datasets.evaluation import Evaluation
    from exemplar.io import integrity
    from exemplar.params.load import load_params
    from exemplar.report import comparison, gallery, page, panels, paper
    from exemplar.tracking import runs

    settings = load_params()
    surrogate, encoders, training = Path("data/surrogate"), Path("data/encoders"), Path("results/training")
    rows = [("probe", name) for name in settings.methods] + [("finetune", name) for name in settings.finetune.methods]
    evaluations = [
        Path(f"results/evaluations/{kind}/{dataset}-{name}.json")
        for dataset in settings.datasets
        for kind, name in rows
    ]
    curves = [
        Path(f"results/invariance/{dataset}-{name}.csv")
        for dataset in settings.datasets
        for name in settings.invariance.methods
    ]
    inputs = [surrogate, encoders, training, *evaluations, *curves]
    integrity.require_intact(inputs)
    records, invariance = [Evaluation.load(path) for path in evaluations], panels.load(curves)
    pictures = gallery.collect(surrogate=surrogate, encoders=encoders, training=training, methods=settings.methods)
    rests_on = page.runs(records, pictures, invariance)
    all_settings, name = settings.model_dump(), f"{settings.model} on {', '.join(settings.datasets)}"
    with runs.work("compare", name=name, settings=all_settings, inputs=inputs) as (run, _):
        page.save(
            Path("results"),
            records=records,
            pictures=pictures,
            invariance=invariance,
            marks=paper.invariance(unlabeled=settings.unlabeled, ranges=all_settings["transformation"]),
            unlabeled=settings.unlabeled,
            settings=all_settings,
            runs=rests_on,
            run_id=run.id,
        )
        run.log_metrics(comparison.flat_metrics(records))
        run.log_tags(rests_on)
        for file in ("report.html", "comparison.csv", "figures"):
            run.log_file(Path("results") / file)


if __name__ == "__main__":
    cli.start(compare)
