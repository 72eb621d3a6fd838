"""All results -> table, figures, report."""

from pathlib import Path

from stages import cli


def compare() -> None:
    """Put every row side by side, with the paper's numbers where they exist, and log one summary run."""
    from exemplar import comparison, gallery, intact, panels, paper, params, report
    from exemplar.evaluation import Evaluation
    from stages import checkpoint

    settings = params.load()
    numbers, datasets, methods = settings.model_dump(), settings.datasets, settings.methods
    surrogate, encoders, training = Path("data/surrogate"), Path("data/encoders"), Path("results/training")
    evaluations = [Path(f"results/evaluations/{dataset}-{method}.json") for dataset in datasets for method in methods]
    moved = [
        Path(f"results/invariance/{one}-{method}.csv") for one in datasets for method in settings.invariance.methods
    ]
    name, read = f"{settings.model} on {', '.join(datasets)}", [surrogate, encoders, training, *evaluations, *moved]
    intact.require(read)
    records, invariance = [Evaluation.load(path) for path in evaluations], panels.load(moved)
    pictures = gallery.collect(surrogate=surrogate, encoders=encoders, training=training)
    runs = report.runs(records, pictures, invariance)
    with checkpoint.work("compare", name=name, settings=numbers, read=read) as (run, _):
        report.save(
            Path("results"),
            records=records,
            pictures=pictures,
            invariance=invariance,
            marks=paper.invariance(unlabeled=settings.unlabeled, ranges=numbers["transformation"]),
            unlabeled=settings.unlabeled,
            settings=numbers,
            runs=runs,
            run_id=run.id,
        )
        run.log_metrics(comparison.flat_metrics(records))
        run.log_tags(runs)
        for file in ("report.html", "comparison.csv", "figures"):
            run.log_file(Path("results") / file)


if __name__ == "__main__":
    cli.start(compare)
