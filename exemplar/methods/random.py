"""Random filters: the same network as it is before any training, the baseline that every pretext task must beat."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from exemplar import training
from exemplar.architecture import Architecture
from exemplar.device import Compute
from exemplar.network import Encoder, draw_encoder
from exemplar.surrogate import SurrogateSet

READOUT = "probe"


def fit(
    architecture: Architecture,
    surrogate: SurrogateSet,
    *,
    mean: Float[Tensor, "3 32 32"],
    settings: training.Settings,
    compute: Compute,
    random_seed: int,
    checkpoint: Path | None,
) -> tuple[Encoder, Iterator[training.Epoch]]:
    """The encoder that the exemplar method starts from, and no epochs."""
    return draw_encoder(architecture, mean=mean, generator=torch.Generator().manual_seed(random_seed)), iter(())
