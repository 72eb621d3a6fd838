"""Multi-task: several pretext tasks, one encoder."""

import numpy as np
import pytest
import torch
from small import PUBLISHED

from exemplar.errors import UserError
from exemplar.methods import jigsaw, relative_location, rotation
from exemplar.methods.multi_task import MultiTask, Options, build, draw, passes
from exemplar.models.architecture import parse
from exemplar.params.options import load_options
from exemplar.surrogate.patches import Patches
from exemplar.surrogate.together import apart

PARTS = {
    "rotation": {"large_share": 0.5},
    "jigsaw": {"permutations_2x2": 23, "permutations_3x3": 100, "puzzles": 4, "grey_share": 0.5},
    "relative_location": {"grey_share": 0.66},
}
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 48, 48), np.uint8)
OPTIONS = Options(parts=PARTS)
GENERATOR, GREY = torch.Generator(), torch.full((3, 32, 32), 0.5)


@pytest.fixture(scope="module")
def rows() -> Patches:
    """Eight rows of all three parts."""
    return draw(IMAGES, OPTIONS, count=8, generator=GENERATOR.manual_seed(0))


def network(rows: Patches) -> MultiTask:
    """An untrained one."""
    return build(parse("4c5-4c5-8f"), rows, OPTIONS, mean=GREY, generator=GENERATOR.manual_seed(1))


def test_a_row_holds_what_each_part_draws(rows: Patches):
    """The same dice, thrown by the parts' own files in their order, give the same patches and columns."""
    generator, some = GENERATOR.manual_seed(0), torch.tensor([1, 5])
    split = apart(rows.to(torch.device("cpu")).render(some), {"rotation": 1, "jigsaw": 4, "relative_location": 2})
    for part, name in ((rotation, "rotation"), (jigsaw, "jigsaw"), (relative_location, "relative_location")):
        alone = part.draw(IMAGES, OPTIONS.parts[name], count=8, generator=generator).render(some)
        assert torch.equal(split[name][0], alone[0])
        assert split[name][1].keys() == alone[1].keys()
        assert all(torch.equal(split[name][1][key], values) for key, values in alone[1].items())


def test_the_cost_of_a_row_is_that_of_its_parts():
    """Four turns, four tiles or nine, two patches."""
    assert passes(IMAGES, OPTIONS) == 4 + 4 + 2
    assert passes(np.zeros((1, 3, 96, 96), np.uint8), OPTIONS) == 4 + 9 + 2


def test_every_part_begins_at_a_loss_of_about_1(rows: Patches):
    """Each is divided by that of its untrained network; chance and score are means, and each part's score is told."""
    model = network(rows)
    model.begin(rows)
    assert model.first_losses["relative_location"] == pytest.approx(np.log(8), rel=0.02)
    outcome = model(rows.render(torch.arange(8)))
    assert outcome.loss.item() == pytest.approx(1, abs=0.05)
    assert model.chance == pytest.approx((1 / 4 + 1 / 23 + 1 / 8) / 3)
    scores = [outcome.sums[f"{name}_score"] for name in PARTS]
    assert torch.allclose(outcome.score, torch.stack(scores).mean())
    assert "jigsaw_absolute_place_score" in model.eval()(rows.render(torch.arange(8))).sums


def test_all_parts_train_one_encoder(rows: Patches):
    """Its weights are there once, every part's loss reaches them, and heads are the parts' own."""
    model, batch = network(rows), rows.render(torch.arange(8))
    first = model.trunk.encoder.convolutions()[0].weight
    assert sum(weights.shape == first.shape for weights in model.parameters()) == 1
    for name, own in apart(batch, model.widths).items():
        model.zero_grad()
        model.learners[name](own).loss.backward()
        assert first.grad is not None
        assert first.grad.abs().sum() > 0
    assert all(learner.trunks()[0].norms is model.trunk.norms for learner in model.learners.values())


def published(*names: str) -> Options:
    """These tasks as they stand in params.yaml."""
    options = load_options("multi_task", {"parts": {name: PUBLISHED[name] for name in names}})
    assert isinstance(options, Options)
    return options


def test_every_task_with_one_encoder_can_be_a_part():
    """Also one that sees other colours, which keeps its matrix, and one whose patches are more than its squares."""
    options = published("colorization", "counting", "denoising", "context_encoder")
    some = draw(IMAGES, options, count=8, generator=GENERATOR.manual_seed(0))
    model = build(parse("4c5-4c5-8f"), some, options, mean=GREY, generator=GENERATOR.manual_seed(1))
    model.begin(some)
    assert model.widths == {"colorization": 1, "counting": 6, "denoising": 1, "context_encoder": 1}
    assert model(some.render(torch.arange(8))).loss.item() == pytest.approx(1, abs=0.1)
    assert model.learners["colorization"].trunks()[0].colours is not None
    assert model.trunk.colours is None


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "tasks.multi_task.parts {}: expected at least 1 of them"),
        ({"multi_task": {"parts": {}}}, "parts: names multi_task, which is no other task on patches; expected such"),
        ({"exemplar": {}}, "parts: names exemplar, which is no other task on patches"),
        ({"split_brain": PUBLISHED["split_brain"]}, "parts: names split_brain, which trains several encoders and has"),
        ({"rotation": {"large_share": 2}}, "parts: rotation.large_share 2: expected a number of at most 1"),
        ({"rotation": {}}, "parts: rotation.large_share is missing"),
        ({"rotation": None}, "parts: rotation"),
    ],
)
def test_parts_that_make_no_sense_are_refused(parts: dict[str, object], said: str):
    """Itself, nothing, what is no task or has no one encoder, and what a part's own section would refuse."""
    with pytest.raises(UserError) as refused:
        load_options("multi_task", {"parts": parts})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
