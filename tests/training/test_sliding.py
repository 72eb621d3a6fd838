"""How a trained network answers."""

import numpy as np
import pytest
import torch

from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.images import resize
from exemplar.models.initial import draw_encoder, draw_head
from exemplar.runtime.device import Compute
from exemplar.training import sliding
from exemplar.training.classifier import Classifier


def test_an_answer_is_averaged_over_places_and_scales(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """The softmax of every place counts once at each scale; how many images go together does not matter."""
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), np.uint8).repeat(10, 2).repeat(10, 3)
    generator = torch.Generator().manual_seed(0)
    encoder = draw_encoder(parse("8c5-8c5-16f"), mean=torch.full((3, 32, 32), 0.5), generator=generator)
    classifier = Classifier(encoder, draw_head(encoder.width, 4, generator=generator)).eval()
    for weights in classifier.parameters():  # so that images differ in what they get
        torch.nn.init.normal_(weights, std=0.1, generator=torch.Generator().manual_seed(3))
    votes = torch.zeros(20, 4)
    with torch.no_grad():
        for side in (40, 32):
            pictures = resize(torch.from_numpy(images).float() / 255, side)
            scores = classifier.head(classifier.encoder(pictures))
            places = [scores[:, :, y, x].softmax(1) for y in range(scores.shape[2]) for x in range(scores.shape[3])]
            votes += torch.stack(places).mean(0)
    expected = votes.argmax(1).tolist()
    for at_once in (3, 20):
        monkeypatch.setattr("exemplar.models.images.BATCH_PIXELS", at_once * 40**2)
        assert sliding.classify(classifier, images, scales=(0.8, 1.0), compute=compute).tolist() == expected
    assert len(set(expected)) > 1


def test_too_little_memory_is_told_with_what_to_lower(compute: Compute) -> None:
    """The scales, as params.yaml calls them."""
    generator = torch.Generator().manual_seed(0)
    encoder = draw_encoder(parse("8c5-8c5-16f"), mean=torch.full((3, 32, 32), 0.5), generator=generator)
    classifier = Classifier(encoder, draw_head(encoder.width, 4, generator=generator))
    images = np.zeros((1, 3, 40, 40), np.uint8)
    with pytest.raises(UserError, match=r"^out of memory: test images of up to 1000000 pixels; lower finetune.scales"):
        sliding.classify(classifier, images, scales=(25_000.0,), compute=compute)
