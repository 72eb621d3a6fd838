"""Nearest neighbours: against scikit-learn's, and how many there are."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from exemplar.probe import knn


@pytest.mark.parametrize("per_class", [4, 20, 60])
def test_neighbours_vote_as_scikit_learns_do(per_class: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By cosine similarity, each with exp(similarity / 0.07), in whatever blocks the images come."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3 * per_class) % 3
    training, images = (torch.rand(count, 12, generator=generator) for count in (len(labels), 500))
    training += 0.1 * torch.nn.functional.one_hot(labels, 12)
    peer = KNeighborsClassifier(
        min(20, per_class), metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(training.double().numpy(), labels)
    expected = peer.predict(images.double().numpy()).tolist()
    for at_once in (1000, 7):
        monkeypatch.setattr(knn, "ROWS_AT_ONCE", at_once)
        assert knn.predict(training, labels, images, classes=3).tolist() == expected
    assert len(set(expected)) == 3


def test_there_are_no_more_neighbours_than_images_of_the_rarest_class() -> None:
    """Twenty where there are as many; a class without any training image is not counted."""
    assert knn.count_neighbours(torch.tensor([0] * 30 + [2] * 25)) == 20
    assert knn.count_neighbours(torch.tensor([0] * 30 + [2] * 7)) == 7


def test_the_length_of_features_does_not_matter() -> None:
    """Only their direction is compared."""
    training, labels, images = torch.rand(30, 5), torch.arange(30) % 2, torch.rand(40, 5)
    predicted = knn.predict(training, labels, images, classes=2)
    longer = knn.predict(training * torch.arange(1, 31)[:, None], labels, 3 * images, classes=2)
    assert predicted.tolist() == longer.tolist()
