"""Where seeds are cut: on what has edges, one per image while there are enough, and always inside."""

from pathlib import Path

import numpy as np
import pytest
import torch

from exemplar.datasets.base import copy_images
from exemplar.errors import UserError
from exemplar.surrogate import rounds, seeds, supply, transformation
from exemplar.surrogate.counters import open_uniforms
from exemplar.surrogate.energy import room
from exemplar.surrogate.seeds import Seeds, draw

SCALES = [1.0, 0.8, 0.64, 0.512]
STATUS = Path("/proc/self/status")


def noise(count: int, height: int = 96, width: int = 96, *, contrast: int = 255) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(128 - contrast // 2, 128 + contrast // 2, (count, 3, height, width)).astype(np.uint8)


def flat(count: int, side: int = 96) -> np.ndarray:
    """Images of one colour each, black and white among them."""
    colours = np.random.default_rng(1).integers(0, 256, (count, 3, 1, 1))
    colours[0], colours[-1] = 0, 255
    return np.broadcast_to(colours, (count, 3, side, side)).astype(np.uint8)


def cut(
    images: np.ndarray,
    count: int,
    *,
    scales: list[float] = SCALES,
    most_overlap: float | None = None,
    random_seed: int = 0,
) -> Seeds:
    return draw(images, count=count, scales=scales, most_overlap=most_overlap, random_seed=random_seed)


def assert_same(one: Seeds, other: Seeds) -> None:
    for name in ("image", "centre", "side"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_flat_image_is_never_chosen():
    """However many there are, and whatever their colour: nothing in them could be told from its neighbour."""
    images = np.concatenate([flat(60), noise(20), flat(60)])
    chosen = cut(images, 20).image
    assert sorted(chosen) == list(range(60, 80))


def test_a_flat_image_is_not_chosen_either_when_seeds_are_many():
    """The images that have something give more instead."""
    images = np.concatenate([flat(30), noise(5)])
    assert (np.bincount(cut(images, 50).image, minlength=35) == [0] * 30 + [10] * 5).all()


@pytest.mark.parametrize("count", [1, 7, 39, 40])
def test_no_image_gives_two_seeds_while_there_are_enough_images(count: int):
    """As many different images as there are seeds."""
    assert len(set(cut(noise(40), count).image)) == count


def test_images_are_visited_in_random_order():
    """Few seeds come from all over the set and not from its beginning."""
    chosen = cut(noise(400, 32, 32), 40, scales=[1.0]).image
    assert chosen.min() < 80
    assert chosen.max() > 320


def test_a_count_that_is_no_multiple_of_the_images_is_shared_out():
    """25 seeds of 10 images are 2 or 3 of each."""
    assert set(np.bincount(cut(noise(10), 25).image)) == {2, 3}


def test_a_set_larger_than_a_chunk_is_read_to_its_end():
    """Images are read in chunks, and every image of every chunk gives its seed."""
    images = noise(seeds.CHUNK + 40, 32, 32)
    assert sorted(cut(images, len(images), scales=[1.0]).image) == list(range(len(images)))


def test_a_seed_at_scale_s_is_32_over_s_pixels_wide():
    """The scales of params.yaml are drawn about equally often, and a seed at scale 1 is as wide as a sample."""
    sides, counts = np.unique(cut(noise(400), 400).side, return_counts=True)
    np.testing.assert_allclose(sides, [32 / scale for scale in SCALES])
    assert counts.min() > 70
    assert rounds.PATCH_PIXELS == transformation.PATCH_PIXELS


@pytest.mark.parametrize("size", [(96, 96), (32, 32), (33, 47), (40, 40), (41, 41), (50, 63), (64, 200), (150, 70)])
def test_seeds_lie_inside_their_image(size: tuple[int, int]):
    """Every pixel of a seed is a pixel of its image, whatever the image's shape and the scale."""
    height, width = size
    found = cut(noise(60, *size), 60)
    assert (found.centre - found.side[:, None] / 2 >= 0).all()
    assert (found.centre + found.side[:, None] / 2 <= [width, height]).all()


def test_an_image_with_room_for_one_seed_gives_its_middle():
    """In an image of 32 x 32 pixels the seed is the image."""
    found = cut(noise(5, 32, 32), 5)
    assert (found.centre == 16).all()
    assert (found.side == 32).all()


def test_scales_that_make_an_image_smaller_than_a_seed_are_left_out():
    """Of 48 pixels 0.64 would leave 30; 32 are needed."""
    assert set(cut(noise(60, 48, 48), 60).side) == {32.0, 40.0}


def test_seeds_lie_where_the_edges_are():
    """A small texture on a flat image draws all seeds to itself."""
    images = np.full((100, 3, 160, 160), 90, np.uint8)
    images[:, :, 40:70, 90:120] = noise(100, 30, 30)
    assert (np.abs(cut(images, 100, scales=[1.0]).centre - [105, 55]) < 40).all()


def test_the_chance_of_a_place_is_proportional_to_its_energy():
    """Half the contrast is a quarter of the energy: four in five seeds lie on the side of full contrast."""
    images = np.concatenate([noise(500, 128, 128, contrast=200), noise(500, 128, 128, contrast=100)], axis=3)
    x = cut(images, 500, scales=[1.0]).centre[:, 0]
    assert (x < 128).mean() == pytest.approx(0.8, abs=0.06)


def test_even_energy_spreads_seeds_evenly():
    """Of pure noise every place is as good as any other that leaves the seed room."""
    centre = cut(noise(1000, 128, 128), 1000, scales=[1.0]).centre
    low, high = centre.min(0), centre.max(0)
    assert (low < 24).all()
    assert (high > 104).all()
    np.testing.assert_allclose(centre.mean(0), 64, atol=4)
    np.testing.assert_allclose(centre.std(0), (104 - 20) / 12**0.5, atol=3)


def test_seeds_of_one_image_and_scale_keep_a_distance():
    """No seed is cut twice: the neighbourhood of each is closed to the next."""
    found = cut(noise(1, 160, 160), 30, scales=[1.0])
    apart = np.abs(found.centre[:, None] - found.centre[None]).max(2) + 1000 * np.eye(30)
    assert apart.min() == 12  # three cells of 4 pixels


@pytest.mark.parametrize("random_seed", range(12))
def test_images_give_all_the_seeds_they_have_room_for(random_seed: int):
    """40 x 40 pixels hold one seed at scale 1 and one at 0.8: all of them are found, whatever the dice say."""
    found = cut(noise(3, 40, 40), 6, random_seed=random_seed)
    assert sorted(zip(found.image, found.side, strict=True)) == [(i, side) for i in range(3) for side in (32, 40)]


@pytest.mark.parametrize(
    ("images", "count", "given"), [(np.concatenate([noise(3, 40, 40), flat(2, 40)]), 7, 6), (flat(4), 1, 0)]
)
def test_more_seeds_than_the_images_can_give_are_refused(images: np.ndarray, count: int, given: int):
    """The line quotes the count and says how many there are."""
    said = f"^seeds.count is {count}, but these {len(images)} images give only {given} seeds; lower it$"
    with pytest.raises(UserError, match=said):
        cut(images, count)


def test_images_smaller_than_a_seed_are_refused():
    """The line says which scale would do, or that none would."""
    with pytest.raises(UserError, match=r"^seeds.scales \[0.3\] make images of 96 x 120 .* at least 0.334$"):
        cut(noise(3, 96, 120), 1, scales=[0.3])
    assert len(cut(noise(3, 96, 120), 1, scales=[0.334]).image) == 1
    with pytest.raises(UserError, match=r"make images of 31 x 99 smaller than seeds; expected 32 pixels or more$"):
        cut(noise(3, 31, 99), 1)
    for side, least in ((32, "1.0"), (100, "0.32"), (128, "0.25")):
        with pytest.raises(UserError, match=rf"expected a scale of at least {least}$"):
            cut(noise(1, side, side), 1, scales=[0.2])


def test_more_seeds_than_the_images_have_room_for_are_refused_at_once():
    """Two images of 41 x 60 pixels: in 1 x 5 cells at scale 1 lie two seeds, one at 0.8; nothing is tried for 7."""
    with pytest.raises(UserError, match=r"^seeds.count is 7, but these 2 images have room for 6 at most; lower it$"):
        cut(noise(2, 41, 60), 7)
    images = np.concatenate([noise(1, 41, 60), flat(1)[:, :, :41, :60]])
    with pytest.raises(UserError, match=r"^seeds.count is 6, but these 2 images give only [123] seeds; lower it$"):
        cut(images, 6)
    million = np.broadcast_to(np.uint8(0), (1_000_000, 3, 96, 96))
    with pytest.raises(UserError, match=r"these 1000000 images have room for 39000000 at most; lower it$"):
        cut(million, 39_000_001, most_overlap=0.3)


def test_a_sample_of_many_images_says_at_once_that_they_give_too_few(monkeypatch: pytest.MonkeyPatch):
    """A million of them here, which give nine to twelve each; for less it says how many rounds will do."""
    monkeypatch.setattr(supply, "SAMPLE", 200)
    wanted = {"scales": SCALES, "most_overlap": 0.3, "random_seed": 0}
    many = np.broadcast_to(noise(1), (1_000_000, 3, 96, 96))
    with pytest.raises(
        UserError, match=r"^seeds.count is 18000000, but these 1000000 images give about 10\d{6} seeds, as 200 of them"
    ):
        supply.plan(many, count=18_000_000, **wanted)
    for count, least, most in ((500_000, 1, 1), (2_000_000, 2, 2), (2_100_000, 3, 4), (9_000_000, 10, 48)):
        usable, turns = supply.plan(many, count=count, **wanted)
        assert usable == SCALES
        assert least <= turns <= most


def test_a_sample_of_flat_images_does_not_say_that_all_are_flat(monkeypatch: pytest.MonkeyPatch):
    """Five of 3,000 give a seed each, and none of the sample does."""
    monkeypatch.setattr(supply, "SAMPLE", 200)
    images = np.zeros((3000, 3, 32, 32), np.uint8)
    images[[7, 707, 1407, 2107, 2807]] = noise(5, 32, 32)
    for random_seed in range(3):
        found = seeds.draw(images, count=5, scales=[1.0], most_overlap=None, random_seed=random_seed)
        assert sorted(found.image.tolist()) == [7, 707, 1407, 2107, 2807]


@pytest.mark.parametrize("most", [None, 0.3, 0.05])
@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_no_image_gives_more_seeds_than_it_is_said_to_have_room_for(most: float | None, scale: float):
    """Of even energy, with seeds at random places, it gives more than a quarter of them."""
    rows = seeds.draw_rounds(noise(4, 128, 128), np.arange(4), rounds=60, scales=[scale], most_overlap=most, key=1)
    most_seeds = room((128, 128), scale, most_overlap=most)
    given = np.bincount(rows[:, 1].astype(int))
    assert given.max() <= most_seeds
    assert given.max() > most_seeds / 4
    assert rows[:, 0].max() < 59


def test_the_same_random_seed_draws_the_same_seeds():
    """And another seed draws others."""
    images = noise(30)
    assert_same(cut(images, 40, random_seed=5), cut(images, 40, random_seed=5))
    assert not np.array_equal(cut(images, 40, random_seed=5).centre, cut(images, 40, random_seed=6).centre)


def test_seeds_survive_the_disk(tmp_path: Path):
    """Bit for bit."""
    found = cut(noise(20), 20)
    found.save(tmp_path / "seeds.npz")
    assert_same(found, Seeds.load(tmp_path / "seeds.npz"))


@pytest.mark.parametrize("left", [0, 10, 300])
def test_a_damaged_file_of_seeds_is_a_users_mistake(tmp_path: Path, left: int):
    """The line says what to do."""
    path = tmp_path / "seeds.npz"
    with pytest.raises(UserError, match="cannot read the seeds"):
        Seeds.load(path)
    cut(noise(20), 20).save(path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match="remove them and run the seeds stage again"):
        Seeds.load(path)


@pytest.mark.parametrize(
    ("image", "centre", "side"),
    [
        ([-1, 0], np.full((2, 2), 20.0), [32.0, 32.0]),
        ([0, 1], np.full((2, 2), 20.0), [32.0, 0.0]),
        ([0, 1], np.full((2, 3), 20.0), [32.0, 32.0]),
        ([0, 1], np.full((1, 2), 20.0), [32.0, 32.0]),
        ([0, 1], np.full((2, 2), 20.0), [32.0]),
    ],
)
def test_a_file_that_cannot_be_seeds_is_refused(
    tmp_path: Path, image: list[int], centre: np.ndarray, side: list[float]
):
    """No image before the first, no side of 0, and one centre (x, y) and one side for each; narrow seeds are seeds."""
    path = tmp_path / "seeds.npz"
    np.savez(path, image=np.array(image), centre=centre, side=np.array(side))
    with pytest.raises(UserError, match="cannot read the seeds"):
        Seeds.load(path)
    narrow = Seeds(image=np.array([0, 1]), centre=np.full((2, 2), 20.0), side=np.array([0.5, 1.0]))
    narrow.save(path)
    assert_same(Seeds.load(path), narrow)


def test_images_with_much_structure_are_drawn_first() -> None:
    """Ten of forty images are noise and the rest nearly flat: the first ten seeds come from the noise."""
    random = np.random.default_rng(0)
    images = random.integers(126, 130, (40, 3, 96, 96)).astype(np.uint8)
    images[::4] = random.integers(0, 256, (10, 3, 96, 96))
    drawn = seeds.draw(images, count=10, scales=[1.0, 0.8], most_overlap=None, random_seed=0)
    assert sorted(drawn.image.tolist()) == list(range(0, 40, 4))


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux says there what a process holds")
def test_images_in_a_mapped_file_are_not_held_in_memory(tmp_path: Path) -> None:
    """The seeds are those of the images in memory, and what was read of 28 MB does not stay in the process."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 3, 96, 96), np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    before = held_kilobytes()
    assert int(copy_images(mapped, slice(0, 1000)).sum()) == int(images.sum())
    assert held_kilobytes() - before < 14_000
    drawn, expected = (cut(each, 30, scales=[1.0]) for each in (mapped[:99], images[:99]))
    np.testing.assert_array_equal(drawn.centre, expected.centre)


def held_kilobytes() -> int:
    """The pages of files that this process holds."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("RssFile")]
    return int(line.split()[1])


@pytest.mark.parametrize("most", [0.0, 0.1, 0.3, 0.6])
def test_no_two_seeds_of_an_image_overlap_more_than_the_limit(most: float):
    """Over all scales, counted pixel by pixel on a grid of half pixels."""
    images = noise(2, 160, 160)
    found = cut(images, 20 if most else 6, most_overlap=most)
    grid = np.arange(0.25, 160, 0.5)
    for image in range(2):
        use = found.image == image
        low, high = (found.centre[use] + sign * found.side[use, None] / 2 for sign in (-1, 1))
        x, y = (((grid >= low[:, c, None]) & (grid < high[:, c, None])).astype(float) for c in (0, 1))
        masks = (y[:, :, None] * x[:, None]).reshape(use.sum(), -1)
        common = masks @ masks.T
        union = masks.sum(1)[:, None] + masks.sum(1) - common
        iou = common / union - np.eye(len(common))
        assert iou.max() <= most + 0.03
        assert most == 0 or iou.max() > most / 2, "the limit is used"


def test_a_count_that_the_limit_leaves_no_room_for_is_refused():
    """The line says how many there are at this limit."""
    with pytest.raises(UserError, match=r"give only \d+ seeds at seeds.most_overlap 0.0; lower count$"):
        cut(noise(3, 96, 96), 30, most_overlap=0.0)


def test_an_overlap_of_1_forbids_nothing_and_none_is_the_same():
    """Seeds are drawn as if there were no limit."""
    assert_same(cut(noise(3), 40, most_overlap=1.0), cut(noise(3), 40))


def test_random_seeds_draw_from_streams_of_their_own():
    """What one draws of an image, another does not draw."""
    images = noise(30, 64, 64)
    one, other = (cut(images, 30, scales=[1.0], random_seed=number) for number in (4, 5))
    assert one.image.tolist() == seeds.draw_order(images, scale=1.0, random_seed=4).tolist() != other.image.tolist()
    places = [each.centre[each.image.argsort()] for each in (one, other)]
    assert (places[0] == places[1]).all(1).mean() < 0.2


def test_what_is_drawn_of_an_image_depends_on_nothing_but_its_number():
    """Without the others, its seeds are the same, in the same places, and so are the first where more are drawn."""
    images = noise(9, 96, 96)
    whole = seeds.draw_rounds(images, np.arange(9), rounds=3, scales=SCALES, most_overlap=0.3, key=7)
    some = seeds.draw_rounds(images, np.array([2, 7]), rounds=3, scales=SCALES, most_overlap=0.3, key=7)
    np.testing.assert_array_equal(some, whole[np.isin(whole[:, 1], [2, 7])])
    more = seeds.draw_rounds(images, np.arange(9), rounds=50, scales=SCALES, most_overlap=0.3, key=7)
    assert len(more) > len(whole)
    np.testing.assert_array_equal(more[more[:, 0] < 3], whole)


@pytest.mark.parametrize("most", [None, 0.3])
def test_every_image_gives_a_seed_before_one_gives_its_next(monkeypatch: pytest.MonkeyPatch, most: float | None):
    """25 seeds of 10 images are two rounds through all and half of a third, in one order and at several scales.

    Each seed lies in its own image: nine in ten of these are flat but for one quarter, which is not the same for all.
    """
    images = np.full((10, 3, 160, 160), 128, np.uint8)
    quarters = [(80 * (number % 2), 80 * (number // 2 % 2)) for number in range(10)]
    for image, (x, y) in zip(images, quarters, strict=True):
        image[:, y : y + 80, x : x + 80] = noise(1, 80, 80)[0]
    order = seeds.draw_order(images, scale=1.0, random_seed=0)
    for at_once in (4, 512):
        monkeypatch.setattr(seeds, "CHUNK", at_once)
        found = cut(images, 25, scales=[1.0, 0.9], most_overlap=most)
        assert found.image.tolist() == np.tile(order, 3)[:25].tolist()
        assert len(set(found.side)) == 2
        middle = np.array(quarters)[found.image] + 40
        assert (np.abs(found.centre - middle) < 40 + 16).all()
        assert np.abs(found.centre - middle).mean() < 30


def numbers(count: int, column: int) -> torch.Tensor:
    """As many draws, evenly spread."""
    return open_uniforms(3, torch.arange(count), column + 1)[:, column]


def test_the_chance_of_an_image_to_come_first_is_proportional_to_its_energy(monkeypatch: pytest.MonkeyPatch):
    """Half the contrast is a quarter of the energy; images of the same energy come first equally often.

    How many images are read at once does not matter.
    """
    strong, weak = noise(1, 64, 64), noise(1, 64, 64, contrast=127)
    images = np.concatenate([strong, weak, strong])
    first = [seeds.draw_order(images, scale=1.0, random_seed=number)[0] for number in range(600)]
    np.testing.assert_allclose(np.bincount(first) / 600, np.array([4, 1, 4]) / 9, atol=0.06)
    many = noise(30, 32, 32)
    whole = seeds.draw_order(many, scale=1.0, random_seed=0)
    monkeypatch.setattr(seeds, "CHUNK", 7)
    assert seeds.draw_order(many, scale=1.0, random_seed=0).tolist() == whole.tolist()


def test_the_next_scale_with_energy_stands_in_for_one_without():
    """Of four maps the first and the last have some: the last is also drawn in place of the two before it."""
    some, none = torch.ones(4000, 3, 5), torch.zeros(4000, 3, 5)
    drawn = rounds.draw_scales([some, none, none, some], numbers(4000, 0))
    np.testing.assert_allclose(drawn.bincount() / 4000, [0.25, 0, 0, 0.75], atol=0.03)
    drawn = rounds.draw_scales([none, some, none, none], numbers(4000, 1))
    assert (drawn == 1).all()
    drawn = rounds.draw_scales([some, some, some], numbers(4000, 2))
    np.testing.assert_allclose(drawn.bincount() / 4000, [1 / 3] * 3, atol=0.03)


def test_a_cell_is_drawn_by_its_energy_and_named_by_row_and_column():
    """Three times the energy is drawn three times as often; a map without any gives no cell."""
    energy = torch.zeros(4000, 4, 7)
    energy[:-1, 3, 1], energy[:-1, 0, 6] = 0.3, 0.1
    cells = rounds.draw_cells(energy, numbers(4000, 0))
    assert cells[-1].tolist() == [-1, -1]
    assert {tuple(cell) for cell in cells[:-1].tolist()} == {(3, 1), (0, 6)}
    assert (cells[:-1, 0] == 3).double().mean() == pytest.approx(0.75, abs=0.03)


def test_the_neighbourhood_of_a_cell_is_two_cells_in_every_direction():
    """Five rows and five columns are closed, fewer at a border, and the other maps keep theirs."""
    energy = torch.ones(2, 9, 12)
    left = rounds.without_neighbourhood(energy, torch.tensor([[4, 6], [0, 11]]))
    expected = torch.ones(2, 9, 12)
    expected[0, 2:7, 4:9], expected[1, :3, 9:] = 0, 0
    assert torch.equal(left, expected)
