"""What tasks on several patches of a picture share: defences, head, and the control of absolute place."""

import torch

from exemplar.surrogate.patches import greyed
from exemplar.training.siamese import levelled, strangers

GENERATOR = torch.Generator().manual_seed(0)
PATCHES = torch.rand(4, 3, 3, 8, 8, generator=GENERATOR)


def test_levelled_patches_tell_neither_light_nor_contrast():
    """Each has the same mean and standard deviation, and a brighter or paler copy becomes the same patch."""
    one, other = (levelled(patches, mean=0.4, spread=0.2) for patches in (PATCHES, 0.3 + 0.5 * PATCHES))
    assert torch.allclose(one.mean((2, 3, 4)), torch.tensor(0.4))
    assert torch.allclose(one.std((2, 3, 4), correction=0), torch.tensor(0.2))
    assert torch.allclose(one, other, atol=1e-5)


def test_a_flat_patch_stays_flat():
    """It has the mean, and rounding errors are not blown up to a picture."""
    flat = levelled(torch.full((1, 3, 8, 8), 0.7), mean=0.4, spread=0.2)
    assert torch.allclose(flat, torch.tensor(0.4), atol=1e-4)


def test_a_row_is_grey_as_a_whole():
    """Its three channels are equal in every patch; other rows keep their colours, and grey stays grey."""
    grey = torch.tensor([True, False, True, False])
    shown = greyed(PATCHES, grey)
    assert torch.equal(shown[grey][:, :, 0], shown[grey][:, :, 2])
    assert torch.equal(shown[~grey], PATCHES[~grey])
    assert torch.allclose(greyed(shown, torch.ones(4, dtype=torch.bool))[grey], shown[grey])


def test_strangers_keep_their_places_and_come_from_different_rows():
    """Every vector is used once, where it was; with rows enough, no two of a group were of one row."""
    vectors = torch.stack([torch.arange(5)[:, None].expand(5, 3), torch.arange(3).expand(5, 3)], 2).float()
    mixed = strangers(vectors)
    assert torch.equal(mixed[:, :, 1], vectors[:, :, 1])
    assert all(len(set(row.tolist())) == 3 for row in mixed[:, :, 0])
    assert torch.equal(mixed[:, :, 0].sort(0).values, vectors[:, :, 0])


def test_bfloat16_takes_colour_away_to_the_digit():
    """What a network trains on in bfloat16 is as grey as in float32."""
    grey = torch.ones(4, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        shown = greyed(PATCHES, grey)
    assert torch.equal(shown, greyed(PATCHES, grey))
