"""The card of a trained encoder in Markdown, made of what its runs in MLflow say."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from exemplar.datasets import intervals

if TYPE_CHECKING:
    from mlflow.entities import Run

UNKNOWN = "–"
PASSES = "encoder_passes_in_all"  # the metric of a training that has ended
READOUTS = {"probe": "linear SVM on its features", "finetune": "the whole network, fine-tuned"}
# A line each, because MLflow shows every line's end.
CARD = """\
{headline}

- **What it is.** The network `{model}`, trained without labels by the method `{method}`. \
Its features are the maps of every layer, max-pooled in 2 x 2 cells.
- **Data.** The unlabeled images of `{unlabeled}` (md5 {images}...). No label was read.
{seeds}- **Training.** {seen} images through the encoder, on {device}; random seed {random_seed}, commit {commit}. \
The run has all settings.
- **Limits.** It knows what `{unlabeled}` shows, in patches of 32 x 32 pixels: edges, colours and textures better \
than whole things. Larger pictures should be scaled to 96 pixels (`side=96`). The alias *champion* follows accuracies \
on test images, so the best of many versions looks a little better than it is.
- **Licence.** MIT, as the code. The images have licences of their own.

{accuracies}
```python
import exemplar

# This version; the best one is "{name}@champion".
encoder = exemplar.load_encoder("{run_id}")
features = encoder.features(["a.jpg", "b.jpg"], side=96)
```
"""
ACCURACIES = """\
| dataset | read by | accuracy, % | 95 % interval | k-NN, % |
|---|---|---|---|---|
{rows}
The mean over the folds ± the standard deviation over the folds; the interval is for other labeled images of the same \
kind, and not for another random seed of the training.
"""
SEEDS = """\
- **Surrogate classes.** {seeds_count} seeds, cut from these images, and {surrogate_samples} samples of each; \
recipe `{train_recipe}`, batches of {train_batch_size}, learning rate {train_learning_rate}.
"""
ON_SEEDS = ("exemplar", "clustered")  # the other methods cut squares of their own
MODEL = """\
Encoders of one network and one method, a version for each training. The alias *champion* stands on the version with \
the highest accuracy of the kind that the tag *champion* names, among those that were measured on the same images.
"""


def write(name: str, training: "Run", evaluations: "Sequence[Run]") -> str:
    """The card of an encoder; what a run does not say is a dash, and before an evaluation ends there are no results."""
    params = {key.replace(".", "_"): value for key, value in training.data.params.items()}
    tags, metrics = training.data.tags, training.data.metrics
    method = tags.get("method", UNKNOWN)
    told = params | {
        "headline": "; ".join(map(headline, evaluations)) or "No evaluation of it has ended yet.",
        "method": method,
        "seeds": SEEDS.format_map(defaultdict(lambda: UNKNOWN, params)) if method in ON_SEEDS else "",
        "device": tags.get("device", UNKNOWN),
        "commit": tags.get("mlflow.source.git.commit", UNKNOWN)[:10],
        "seen": f"{metrics[PASSES]:,.0f}" if PASSES in metrics else UNKNOWN,
        "images": digest(training),
        "accuracies": ACCURACIES.format(rows="".join(map(row, evaluations))) if evaluations else "",
        "run_id": training.info.run_id,
        "name": name,
    }
    return CARD.format_map(defaultdict(lambda: UNKNOWN, told))


def headline(evaluation: "Run") -> str:
    """An accuracy in a few words, as lists of versions show it."""
    return f"{key(evaluation)} {percent(evaluation.data.metrics['accuracy'])} %"


def row(evaluation: "Run") -> str:
    """A line of the table of results."""
    tags, metrics = evaluation.data.tags, evaluation.data.metrics
    spread, neighbours = metrics.get("accuracy_std"), metrics.get("knn_accuracy")
    accuracy = percent(metrics["accuracy"]) + (f" ± {percent(spread)}" if spread is not None else "")
    between = (
        intervals.span(metrics["accuracy"], metrics["accuracy_margin"]) if "accuracy_margin" in metrics else UNKNOWN
    )
    return (
        f"| `{tags['dataset']}` | {READOUTS.get(tags['readout'], tags['readout'])} | {accuracy} | {between} | "
        f"{UNKNOWN if neighbours is None else percent(neighbours)} |\n"
    )


def percent(share: float) -> str:
    """A share with one decimal, in percent."""
    return f"{100 * share:.1f}"


def digest(run: "Run") -> str:
    """The md5 of the dataset that a run has read."""
    read = run.inputs.dataset_inputs if run.inputs else []
    return str(read[0].dataset.digest) if read else UNKNOWN


def key(evaluation: "Run") -> str:
    """What an accuracy is called: the readout and the dataset, `probe.photos`."""
    return f"{evaluation.data.tags['readout']}.{evaluation.data.tags['dataset']}"
