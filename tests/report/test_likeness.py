"""What an encoder takes for alike."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image

from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Pixels
from exemplar.report import likeness


def test_images_of_one_colour_are_neighbours(labeled):
    """Under raw pixels, where classes are colours; no image is its own neighbour."""
    alike = likeness.collect(labeled, {"pixels": Pixels()}, dataset="photos", side=40)
    seen = alike.views["pixels"]
    assert len(alike.images) == len(seen.places) == labeled.test.shape[1]
    assert [alike.classes[query] for query in alike.queries] == ["red", "green", "blue"]
    for query, nearest in zip(alike.queries, seen.nearest, strict=True):
        assert query not in nearest
        assert {alike.classes[other] for other in nearest[:3]} == {alike.classes[query]}
    assert np.all((seen.places >= 0) & (seen.places <= 1))
    assert len(set(alike.colours.values())) == 3


def test_every_layer_counts_as_much_as_another(labeled):
    """The features of each have unit length."""
    generator = torch.Generator().manual_seed(0)
    encoder = draw_encoder(parse("4c5-4c5-8f"), mean=torch.full((3, 32, 32), 0.5), generator=generator)
    rows = likeness.unit_features(encoder, labeled.images[:4], side=40)
    lengths = [np.linalg.norm(part, axis=1) for part in np.split(rows, [16, 32], axis=1)]
    np.testing.assert_allclose(lengths, np.ones((3, 4)), rtol=1e-5)


def test_a_handful_of_images_stands_in_a_line():
    """There is nothing for t-SNE to lay out."""
    assert likeness.places(np.eye(3)).shape == (3, 2)


def test_a_thumbnail_is_the_image_itself(labeled):
    """Small, as a JPEG."""
    import base64

    head, _, content = likeness.thumbnail(labeled.images[0]).partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(BytesIO(base64.b64decode(content))).size == (likeness.THUMB_PIXELS,) * 2


def test_the_first_encoder_and_random_filters_are_shown():
    """Beside what there is room for."""
    assert likeness.chosen(["exemplar", "a", "b", "random"]) == ["exemplar", "random", "a"]
    assert likeness.chosen(["random", "exemplar"]) == ["random", "exemplar"]
