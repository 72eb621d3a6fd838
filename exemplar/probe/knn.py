"""Weighted nearest neighbours on frozen features (Wu et al. 2018, arXiv:1805.01978; k of Caron et al. 2021, DINO).

The NEIGHBOURS training images with the largest cosine similarity s vote, each for its class with exp(s / TEMPERATURE).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

NEIGHBOURS, TEMPERATURE = 20, 0.07  # from the literature: nothing is chosen on any label here
ROWS_AT_ONCE = 1000  # their similarities to 50,000 training images take 200 MB


def count_neighbours(labels: Int64[Tensor, " n"]) -> int:
    """20, or where the rarest class has fewer training images, their number: more would all be of other classes."""
    counts = labels.bincount()
    return min(NEIGHBOURS, int(counts[counts > 0].min()))


def predict(
    training: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], features: Float[Tensor, "m d"], *, classes: int
) -> Int64[Tensor, " m"]:
    """The class that each row of `features` gets from its neighbours among the rows of `training`."""
    unit, neighbours, predicted = normalize(training), count_neighbours(labels), []
    for rows in torch.split(features, ROWS_AT_ONCE):
        similarity, nearest = (normalize(rows) @ unit.T).topk(neighbours, dim=1)
        votes = rows.new_zeros(len(rows), classes)
        votes.scatter_add_(1, labels[nearest], (similarity / TEMPERATURE).exp())
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)
