"""Clustered: seeds that look alike are one class, found by the encoder of a first training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import PICTURES, begun, timeless

from exemplar.errors import UserError
from exemplar.methods import clustered
from exemplar.methods.clustered import Options, cluster, seed_features
from exemplar.models.network import Encoder
from exemplar.models.saved import load_encoder
from exemplar.runtime.device import Compute
from exemplar.surrogate.build import build
from exemplar.surrogate.ranges import Ranges
from exemplar.surrogate.seeds import Seeds
from exemplar.surrogate.sets import SurrogateSet
from exemplar.surrogate.transformation import neutral_rows

PER_CLUSTER = {"cluster_size": 4}


@pytest.fixture(scope="module")
def surrogate(geometric: Ranges) -> SurrogateSet:
    """Twelve seeds, four samples each."""
    seeds = Seeds(image=np.arange(12), centre=np.full((12, 2), 24.0), side=np.full(12, 32.0))
    return build(PICTURES, seeds, samples=4, ranges=geometric, random_seed=0)[0]


@pytest.fixture
def encoder(encoder_file: Path) -> Encoder:
    """An untrained one."""
    loaded = load_encoder(encoder_file)
    assert isinstance(loaded, Encoder)
    return loaded


def test_rows_that_point_the_same_way_are_one_cluster() -> None:
    """Three groups of rows around three directions are found, whatever their order, and found again the same."""
    groups = torch.arange(30) % 3
    rows = torch.eye(3)[groups] + 0.1 * torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    labels = cluster(rows, size=10)
    assert len({(group, label) for group, label in zip(groups.tolist(), labels.tolist(), strict=True)}) == 3
    assert labels.unique().tolist() == [0, 1, 2]
    assert torch.equal(cluster(rows, size=10), labels)


@pytest.mark.parametrize(("count", "size", "number"), [(40, 10, 4), (39, 10, 3), (8, 10, 2), (5, 1, 5), (1, 10, 1)])
def test_there_are_as_many_clusters_as_their_mean_size_says(count: int, size: int, number: int) -> None:
    """No cluster is empty, and two remain where there are two seeds: one class alone would teach nothing."""
    labels = cluster(torch.rand(count, 5, generator=torch.Generator().manual_seed(0)), size=size)
    assert labels.unique().tolist() == list(range(number))


def test_features_of_seeds_have_length_1_and_are_those_of_all_layers_but_the_first(
    encoder: Encoder, surrogate: SurrogateSet
) -> None:
    """What all seeds have in common counts for nothing."""
    features = seed_features(encoder, surrogate)
    assert features.shape == (12, 4 + 8)
    assert torch.allclose(features.norm(dim=1), torch.ones(12))
    assert features.mean(0).abs().max() < 0.5


def test_all_samples_of_a_seed_have_the_class_of_its_cluster(
    encoder: Encoder, surrogate: SurrogateSet, compute: Compute
) -> None:
    """Samples and held-out samples stay as they are; with clusters of one seed every seed is its own class."""
    data = clustered.clustered(surrogate, encoder, size=4, compute=compute)
    labels = cluster(seed_features(encoder, surrogate), size=4)
    samples, classes = data.render(torch.arange(len(data)))
    assert torch.equal(classes, labels.repeat_interleave(4))
    assert torch.equal(samples, surrogate.render(torch.arange(len(data)))[0])
    assert torch.equal(data.unseen().classes(torch.arange(12)), labels)
    alone = clustered.clustered(surrogate, encoder, size=1, compute=compute)
    assert torch.equal(alone.label, surrogate.label)


def test_a_class_begins_at_its_first_seed(surrogate: SurrogateSet) -> None:
    """Of several seeds of a class one gives the direction that its training starts from, on every machine the same."""
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 0, 1, 2, 0, 1, 2])
    assert replace(surrogate, label=labels).first_seeds().tolist() == [1, 2, 0]
    assert torch.equal(surrogate.first_seeds(), torch.arange(12))


def test_the_first_training_is_that_of_exemplar(surrogate: SurrogateSet, compute: Compute, tmp_path: Path) -> None:
    """Epoch by epoch; the second one counts on, and tells three classes apart in place of twelve."""
    records = timeless(list(begun("clustered", surrogate, compute, options=PER_CLUSTER).epochs))
    assert records[:2] == timeless(list(begun("exemplar", surrogate, compute).epochs))
    assert [(each.epoch, each.chance) for each in records] == [(1, 1 / 12), (2, 1 / 12), (3, 1 / 3), (4, 1 / 3)]
    assert sum(each.encoder_passes for each in records) == 4 * len(surrogate)


@pytest.mark.parametrize("recipe", ["fast", "release"])
def test_a_kill_in_the_second_training_changes_nothing(
    surrogate: SurrogateSet, compute: Compute, tmp_path: Path, recipe: str
) -> None:
    """The clusters are found again, and the training goes on into the same records and the same weights."""
    path = tmp_path / "state.pt"
    whole, halved, again = (
        begun("clustered", surrogate, compute, options=PER_CLUSTER, recipe=recipe, checkpoint=checkpoint)
        for checkpoint in (None, path, path)
    )
    records, killed = list(whole.epochs), halved.epochs
    assert timeless([next(killed) for _ in range(3)]) == timeless(records[:3])
    assert timeless(list(again.epochs)) == timeless(records)
    pairs = zip(whole.finish().state_dict().values(), again.finish().state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_the_page_shows_seeds_of_a_cluster(surrogate: SurrogateSet) -> None:
    """Up to nine of them in three rows, and white where there are fewer."""
    labels = torch.tensor([0] * 10 + [1] * 2)
    one, other = clustered.pictures(replace(surrogate, label=labels), torch.tensor([0, 1]))
    seeds = surrogate.transform(torch.arange(12), neutral_rows(12))
    assert torch.equal(one[:, 34:66, 34:66], seeds[4])
    assert torch.equal(other[:, :32, 34:66], seeds[11])
    assert (other[:, 34:] == 1).all()


def test_more_seeds_than_memory_holds_are_refused(
    surrogate: SurrogateSet, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first training, not after it."""
    monkeypatch.setattr(clustered, "MOST_SEEDS", 11)
    with pytest.raises(UserError, match=r"clustered: seeds.count is 12, expected at most 11, .*; lower it, or take cl"):
        begun("clustered", surrogate, compute, options=PER_CLUSTER)


def test_a_change_of_exemplar_trains_it_anew() -> None:
    """Its section names the method whose file it runs, for `check` to note."""
    assert Options(cluster_size=10).parts == ["exemplar"]
