"""Pictures of single results, which MLflow shows with the runs that made them."""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from exemplar.datasets.evaluation import Evaluation
from exemplar.report import sheets
from exemplar.report.gallery import Gallery
from exemplar.report.page import confusion, key
from exemplar.tracking.sidecars import Sidecar


def pictures(
    records: Sequence[Evaluation], gallery: Gallery, made: Mapping[str, Sidecar | None]
) -> Iterator[tuple[str, str, Figure]]:
    """The id of a run that made a result here, a file's name, and a figure: what an evaluation confuses, and the
    first-layer filters and the samples of an encoder.
    """
    for record in records:
        if sidecar := made.get(key(record)):
            yield sidecar.run_id, "confusion.png", confusion(record)
    for name, filters in gallery.filters.items():
        if sidecar := made.get(f"train.{name}"):
            yield sidecar.run_id, "filters.png", sheets.filter_sheet({name: filters})
            yield sidecar.run_id, "samples.png", sheets.sample_sheet(gallery.samples)
