"""What a stage tells of params.yaml beside the numbers that it works with: no result depends on it."""

from exemplar.params.schema import Params


def url_of(settings: Params, dataset: str) -> str | None:
    """Where a dataset comes from; None for one that comes with a package."""
    return settings.sources[dataset].url


def unlabeled(settings: Params) -> str:
    """The dataset that an encoder is trained on."""
    return settings.unlabeled


def first_dataset(settings: Params) -> str:
    """The dataset on which encoders are ranked."""
    return settings.datasets[0]
