"""Random filters: the same network as it is before any training, the baseline that every pretext task must beat."""

from exemplar.datasets.streams import torch_stream
from exemplar.models.initial import draw_encoder
from exemplar.training.contract import Fitting, TrainInputs


def fit(inputs: TrainInputs) -> Fitting:
    """The encoder that the exemplar method starts from under the release's recipe, and no epochs."""
    generator = torch_stream(inputs.random_seed, "weights")
    encoder = draw_encoder(inputs.architecture, mean=inputs.mean, generator=generator)
    return Fitting(iter(()), lambda: encoder)
