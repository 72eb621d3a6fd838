"""Clustered: seeds that look alike are one surrogate class (Dosovitskiy et al., section 4.3.1 and Table 2).

A first network is trained as `exemplar` trains it. Its features of the seeds are clustered by Ward's method (1963), and
a second network is trained anew to tell the clusters apart: the samples of all seeds of a cluster are one class. The
second network's encoder is kept.

Deviations: the paper's first network is its medium one. It clusters 100,000 whole images, keeps the ten to which an SVM
of each cluster answers most (Singh et al. 2012), and leaves out all others. Here every seed is in one cluster, and
`cluster_size` of them on average are together, about the paper's ten. Both trainings belong to the method, which
therefore costs twice what `exemplar` does.

Expected: in the paper 69.5 % in place of 67.1 on STL-10 for the small network, 74.9 in place of 72.8 for the medium.
Measured: 65.2 in place of 65.8 on `cifar10_400` (random seed 0), half a point more on `photos` (docs/log.md).
"""

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from exemplar.errors import UserError
from exemplar.io.examples import Examples
from exemplar.models.network import Encoder
from exemplar.params.schema import Count, Section
from exemplar.runtime import collective
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.surrogate.transformation import neutral_rows
from exemplar.training.contract import Epoch, Fitting, TrainInputs
from exemplar.training.pictures import Pictures, in_columns, mosaic

FIRST = "exemplar"  # the method of the first training
MOST_SEEDS = 40_000  # the distances between them take 6 GB
SEEDS_AT_ONCE, SEEDS_SHOWN = 256, 9
SMALLEST_SPREAD = 1e-6


class Options(Section):
    """`cluster_size`: how many seeds a cluster has on average."""

    cluster_size: Count

    @property
    def parts(self) -> list[str]:
        """The method whose file this one runs, for DVC (stages/check.py)."""
        return [FIRST]


@torch.inference_mode()
def seed_features(encoder: Encoder, data: SurrogateSet) -> Float[Tensor, "n d"]:
    """The largest response of every filter to each seed as it is, in all layers but the first, in float32.

    Every feature has the same spread over the seeds, and then every seed the length 1.
    """
    rows = []
    for seeds in torch.split(torch.arange(len(data.label)), SEEDS_AT_ONCE):
        blocks = encoder.extract_features(data.transform(seeds, neutral_rows(len(seeds))), (1,))
        rows.append(torch.cat(blocks[1:] or blocks, 1))
    features = torch.cat(rows)
    centred = features - features.mean(0)
    return functional.normalize(centred / centred.square().mean(0).sqrt().clamp_min(SMALLEST_SPREAD), dim=1)


def cluster(features: Float[Tensor, "n d"], *, size: int) -> Int64[Tensor, " n"]:
    """The cluster of each row by Ward's method, which draws nothing; there are `size` rows in each on average."""
    from sklearn.cluster import AgglomerativeClustering  # it loads for a second, which the check stage has not

    number = min(max(len(features) // size, 2), len(features))  # one class alone would teach nothing
    if number == len(features):
        return torch.arange(number)
    return torch.from_numpy(AgglomerativeClustering(number).fit_predict(features.double().numpy()).astype(np.int64))


def clustered(data: SurrogateSet, encoder: Encoder, *, size: int, compute: Compute) -> SurrogateSet:
    """The same samples with clusters for classes, which process 0 finds for all."""
    labels = torch.empty(0, dtype=torch.int64)
    if compute.rank == 0:
        labels = cluster(seed_features(encoder.cpu().eval(), data), size=size)
    if compute.processes > 1:
        given = collective.from_first(labels.numpy().tobytes(), compute)
        labels = torch.from_numpy(np.frombuffer(bytearray(given), np.int64))
    return replace(data, label=labels)


def pictures(data: SurrogateSet, classes: Int64[Tensor, " n"]) -> Pictures:
    """The first seeds of each class, nine at most, side by side."""
    tiles = torch.ones(len(classes), SEEDS_SHOWN, 3, 32, 32)
    for place, number in enumerate(classes.tolist()):
        seeds = torch.nonzero(data.label == number).flatten()[:SEEDS_SHOWN]
        tiles[place, : len(seeds)] = data.transform(seeds, neutral_rows(len(seeds)))
    return mosaic(tiles)


def examples(model: Any, data: SurrogateSet, batch: Batch) -> list[Examples]:  # noqa: ANN401  # what `exemplar` trains
    """Samples, seeds of their clusters, and seeds of the clusters that the network takes them for."""
    samples, targets = batch
    answers = model.answered(samples)
    words = ["right" if right else "wrong" for right in (answers == targets).tolist()]
    own, answered = (pictures(data, classes.cpu()) for classes in (targets, answers))
    columns = {"shown": samples, "the answer": answered, "seeds of its cluster": own}
    return in_columns("clustered", columns, {"the answer": words})


class TwoTrainings:
    """The training on the seeds and, when that has ended, the one on their clusters, which is what is left."""

    def __init__(self, inputs: TrainInputs) -> None:
        if len(inputs.surrogate.label) > MOST_SEEDS:
            raise UserError(
                f"clustered: seeds.count is {len(inputs.surrogate.label)}, expected at most {MOST_SEEDS}, because the "
                "distances between all seeds must fit into memory; lower it, or take clustered out of methods"
            )
        self.inputs, self.method = inputs, import_module(f"exemplar.methods.{FIRST}")
        path = inputs.checkpoint
        self.first: Fitting = self.method.fit(replace(inputs, checkpoint=path and path.parent / "seeds" / path.name))
        self.second: Fitting | None = None

    def epochs(self) -> Iterator[Epoch]:
        """The records of both, counted through."""
        yield from self.first.epochs
        encoder = self.first.finish()
        assert isinstance(encoder, Encoder)
        inputs, size = self.inputs, self.inputs.options.cluster_size
        data = clustered(inputs.surrogate, encoder, size=size, compute=inputs.compute)
        self.second = self.method.fit_classes(replace(inputs, surrogate=data), "clustered", examples)
        for epoch in self.ended().epochs:
            yield replace(epoch, epoch=inputs.settings.epochs + epoch.epoch)

    def ended(self) -> Fitting:
        """The second training."""
        assert self.second
        return self.second


def fit(inputs: TrainInputs) -> Fitting:
    """Train on the seeds, cluster them by what was learnt, and train on the clusters."""
    both = TwoTrainings(inputs)
    return Fitting(both.epochs(), lambda: both.ended().finish(), lambda: both.ended().examples())
