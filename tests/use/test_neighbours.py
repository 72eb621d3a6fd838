"""The pictures that are most like one."""

import numpy as np
import pytest

from exemplar.errors import UserError
from exemplar.use.neighbours import nearest, unit_blocks

FEATURES = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
WIDTHS = [2, 4]


def test_a_picture_is_most_like_itself_and_batches_do_not_matter():
    """Its similarity is 1, and the order is that of all rows at once."""
    names = list(range(20))
    found = nearest(FEATURES[7], [(names, FEATURES)], widths=WIDTHS, count=5)
    assert (found[0].picture, found[0].similarity) == ("7", pytest.approx(1))
    halves = [(names[:10], FEATURES[:10]), (names[10:], FEATURES[10:])]
    assert nearest(FEATURES[7], halves, widths=WIDTHS, count=5) == found
    assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)


def test_a_layer_counts_as_much_as_another_whatever_its_scale():
    """Similarity is the mean of the cosines of the blocks."""
    scaled = FEATURES * np.array([100, 100, 1, 1, 1, 1], np.float32)
    np.testing.assert_allclose(unit_blocks(scaled, WIDTHS), unit_blocks(FEATURES, WIDTHS), rtol=1e-5)
    one, other = unit_blocks(FEATURES[:2], WIDTHS)
    blocks = [(FEATURES[0, :2], FEATURES[1, :2]), (FEATURES[0, 2:], FEATURES[1, 2:])]
    cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in blocks]
    assert float(one @ other) == pytest.approx(np.mean(cosines), rel=1e-5)


def test_features_of_another_encoder_are_refused():
    """In one line that says what to do."""
    with pytest.raises(
        UserError, match="the searched features are 6 wide, the picture's 5: they were made with another"
    ):
        nearest(FEATURES[0, :5], [(["a"], FEATURES[:1])], widths=[5], count=1)
