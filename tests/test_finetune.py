"""Training on labels: what is chosen for it, on which images, and how a trained network answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exemplar import finetune
from exemplar.datasets.base import Labeled
from exemplar.errors import UserError
from exemplar.finetune import Choice, Finetune, Training, Work
from exemplar.models.architecture import parse
from exemplar.models.initial import draw_encoder
from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.device import Compute
from exemplar.surrogate.ranges import Ranges

GOOD, LAZY = Choice(16, 0.01, "geometry"), Choice(1, 1e-6, "none")


@pytest.fixture
def encoder() -> Encoder:
    """A small untrained network."""
    generator = torch.Generator().manual_seed(0)
    return draw_encoder(parse("8c5-8c5-16f"), mean=torch.zeros(3, 32, 32), generator=generator)


@pytest.fixture
def readout(geometric: Ranges) -> Finetune:
    """Ten squares of every labeled image in each epoch, and nothing to choose."""
    return Finetune(
        crops_per_image=10,
        scales=(1.0, 0.8),
        batch_size=16,
        momentum=0.9,
        weight_decay=0.004,
        augmentation=geometric,
        choices=(GOOD,),
        validation="other_folds",
    )


@pytest.fixture
def pool(labeled: Labeled) -> Labeled:
    """Two random splits of one pool: each fold tests what the other trains on."""
    one, two = np.arange(12), np.arange(12, 24)
    return replace(labeled, train=np.stack([one, two]), test=np.stack([two, one]))


def weights(encoder: Encoder) -> list[torch.Tensor]:
    """A copy of all that an encoder keeps."""
    return [value.clone() for value in encoder.state_dict().values()]


def losses(measured: Any) -> list[list[float]]:
    """The learning curves without what depends on the machine's mood."""
    return [[epoch["loss"] for epoch in curve] for curve in measured.curves]


def test_classes_that_differ_in_colour_are_learnt_and_the_encoder_is_left_alone(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """Every fold starts from the same encoder, has its curve, and answers the same every time."""
    short = replace(labeled, train=labeled.train[:2], test=labeled.test[:2])
    before = weights(encoder)
    measured, again = (readout.measure(encoder, short, random_seed=0, compute=compute) for _ in range(2))
    assert min(measured.accuracy) > 0.9
    assert measured.accuracy == again.accuracy
    assert (measured.training_samples, measured.labels_for_choice) == (6, 0)
    assert [len(curve) for curve in measured.curves] == [16, 16]
    assert losses(measured) == losses(again)
    assert losses(measured)[0] != losses(measured)[1]
    assert all(torch.equal(*pair) for pair in zip(before, weights(encoder), strict=True))


@pytest.mark.parametrize(("validation", "labels"), [("other_folds", 6), ("nested", 0)])
def test_the_choice_that_validates_best_is_used_and_its_labels_are_counted(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute, validation: str, labels: int
) -> None:
    """A training that hardly moves loses against one that learns, although it stands first in the list."""
    short = replace(labeled, train=labeled.train[:2], test=labeled.test[:2])
    measured = replace(readout, choices=(LAZY, GOOD), validation=validation).measure(
        encoder, short, random_seed=0, compute=compute
    )
    assert list(measured.chosen) == [{"epochs": 16, "learning_rate": 0.01, "augmentation": "geometry"}] * 2
    assert measured.labels_for_choice == labels


def test_a_single_choice_is_used_without_validation(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute, tmp_path: Path
) -> None:
    """Also where there is no other fold to validate on; it costs no labels and no training but the fold's own."""
    only, quick = replace(labeled, train=labeled.train[:1], test=labeled.test[:1]), Choice(1, 0.01, "none")
    measured = replace(readout, choices=(quick,)).measure(
        encoder, only, random_seed=0, compute=compute, unfinished=tmp_path
    )
    assert list(measured.chosen) == [{"epochs": 1, "learning_rate": 0.01, "augmentation": "none"}]
    assert measured.labels_for_choice == 0
    assert [file.name for file in tmp_path.iterdir()] == ["fold-1.json"]
    with pytest.raises(UserError, match="no other fold has images of its own"):
        replace(readout, choices=(quick, quick)).measure(encoder, only, random_seed=0, compute=compute)


def test_labels_for_choice_are_those_of_the_fold_with_the_most(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """A fold that shares images with the one that validates needs fewer labels than one that shares none."""
    overlapping = replace(labeled, train=np.array([[0, 1, 2, 3], [0, 1, 4, 5], [2, 3, 6, 7]]))
    work = Work(replace(readout, choices=(LAZY, GOOD)), encoder, overlapping, random_seed=0, compute=compute)
    assert work.labels_for_choice() == 4  # what the first fold trains and validates on, without the second's or third's
    single = Work(readout, encoder, overlapping, random_seed=0, compute=compute)
    assert single.labels_for_choice() == 0


def test_validation_on_other_folds_is_one_training_and_on_halves_two(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """The first is the first fold's own; those on halves are named after their half."""
    found = {
        validation: Work(
            replace(readout, choices=(LAZY, GOOD), validation=validation),
            encoder,
            labeled,
            random_seed=0,
            compute=compute,
        ).validations(1)
        for validation in ("other_folds", "nested")
    }
    ((own, others),) = found["other_folds"]
    assert own.images.tolist() == labeled.train[0].tolist()
    assert others.tolist() == [*labeled.train[1], *labeled.train[2]]
    (one, rest), (two, swapped) = found["nested"]
    assert [own.name, one.name, two.name] == ["fold-2", "fold-2-half-1", "fold-2-half-2"]
    assert (rest.tolist(), swapped.tolist()) == (two.images.tolist(), one.images.tolist())


def test_every_epoch_learns_new_squares_of_each_image(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four squares of six images in each of three epochs, in batches of 16: no square comes twice."""
    seen: list[torch.Tensor] = []
    begin = finetune.start

    def watched(*given: Any, **more: Any) -> Any:
        classifier = begin(*given, **more)
        classifier.register_forward_pre_hook(lambda _, batch: seen.append(batch[0][0]) if classifier.training else None)
        return classifier

    monkeypatch.setattr(finetune, "start", watched)
    three = replace(readout, crops_per_image=4, choices=(Choice(3, 0.01, "geometry"),))
    work = Work(three, encoder, labeled, random_seed=0, compute=compute)
    work.fit(Training(labeled.train[0], 0), 0)
    assert [len(samples) for samples in seen] == [16, 8] * 3
    assert len(torch.cat(seen).flatten(1).unique(dim=0)) == 72


def test_a_choice_that_diverges_counts_as_all_wrong(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """Its accuracy on validation images is 0; that of a training that ends is the share it answers right."""
    quick = replace(readout, choices=(Choice(1, 1e9, "none"), Choice(2, 0.01, "none")))
    work = Work(quick, encoder, labeled, random_seed=0, compute=compute)
    training, images = Training(labeled.train[0], 0), labeled.train[1]
    assert work.score(training, 0, images) == 0
    classifier, _ = work.fit(training, 1)
    right = sum(work.classify(classifier, images[[i]])[0] == labeled.labels[image] for i, image in enumerate(images))
    assert work.score(training, 1, images) == pytest.approx(right / 6)


def test_a_choice_that_diverges_is_not_used(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """Alone it stops the run with a line; among others it only loses."""
    wild = Choice(1, 1e9, "none")
    tame = Choice(1, 0.01, "none")
    measured = replace(readout, choices=(wild, tame)).measure(encoder, labeled, random_seed=0, compute=compute)
    assert measured.chosen[0]["learning_rate"] == 0.01
    with pytest.raises(UserError, match=r"lower finetune\.choices\.learning_rate"):
        replace(readout, choices=(wild,)).measure(encoder, labeled, random_seed=0, compute=compute)


def test_test_images_decide_nothing(
    readout: Finetune, encoder: Encoder, pool: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With labels and pixels of the images that a fold tests poisoned, its choice and weights stay bit for bit.

    The folds are random splits of one pool, so that one fold's poison is what another trains on.
    """
    nested = replace(readout, choices=(LAZY, Choice(3, 0.01, "geometry")), validation="nested")
    trained: dict[str, list[torch.Tensor]] = {}
    learn = finetune.fit

    def remembering(model: Any, *given: Any, label: str, **settings: Any) -> Any:
        yield from learn(model, *given, label=label, **settings)
        trained[label] = weights(model)

    monkeypatch.setattr(finetune, "fit", remembering)
    clean = nested.measure(encoder, pool, random_seed=0, compute=compute)
    expected, chosen = dict(trained), list(clean.chosen)
    for fold in range(2):
        images, labels = pool.images.copy(), pool.labels.copy()
        images[pool.test[fold]], labels[pool.test[fold]] = 255 - images[pool.test[fold]], np.arange(12) // 4
        trained.clear()
        poisoned = replace(pool, images=images, labels=labels)
        measured = nested.measure(encoder, poisoned, random_seed=0, compute=compute)
        assert measured.chosen[fold] == chosen[fold]
        own = [label for label in expected if label.startswith(f"fold-{fold + 1}")]
        assert len(own) == 5  # two choices on two halves, and the fold's own training
        for label in own:
            assert all(torch.equal(*pair) for pair in zip(expected[label], trained[label], strict=True)), label
        others = [label for label in trained if label not in own]
        assert not all(torch.equal(expected[label][1], trained[label][1]) for label in others if label in expected)


def test_folds_and_random_seeds_share_no_draw(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """The second fold of random seed 0 is not the first fold of random seed 1, even on the same images."""
    same = replace(labeled, train=labeled.train[[0, 0]], test=labeled.test[:2])
    quick = replace(readout, choices=(Choice(1, 0.01, "geometry"),))
    zero, one = (losses(quick.measure(encoder, same, random_seed=seed, compute=compute)) for seed in (0, 1))
    assert len({first for (first,) in zero + one}) == 4


def test_a_killed_measurement_goes_on_where_it_was(
    readout: Finetune,
    encoder: Encoder,
    labeled: Labeled,
    compute: Compute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither finished trainings nor answers are done again, and the first fold's training is that of its choice."""
    quick = replace(readout, choices=(LAZY, Choice(2, 0.01, "geometry")))
    answered, answer = list[list[str]](), finetune.classify

    def killed_at_the_fourth(*given: Any, **settings: Any) -> Any:
        answered.append(sorted(file.name for file in tmp_path.iterdir()))
        if len(answered) == 4:
            raise KeyboardInterrupt
        return answer(*given, **settings)

    expected = quick.measure(encoder, labeled, random_seed=0, compute=compute)
    monkeypatch.setattr(finetune, "classify", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        quick.measure(encoder, labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    measured = quick.measure(encoder, labeled, random_seed=0, compute=compute, unfinished=tmp_path)
    scores, winner = ["fold-1-score-1.json", "fold-1-score-2.json"], Choice(**expected.chosen[0])
    assert answered[2] == ["fold-1-choice-1", "fold-1-choice-2", *scores]
    assert answered[3] == answered[4] == [*scores, "fold-1.json", f"fold-2-choice-{quick.choices.index(winner) + 1}"]
    assert len(answered) == 6
    assert measured.accuracy == expected.accuracy
    assert losses(measured) == losses(expected)


def test_answers_are_in_float32_whatever_training_is_in(
    readout: Finetune, encoder: Encoder, labeled: Labeled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training in bfloat16 is tested as one in float32 is."""
    inside, answer = list[bool](), finetune.classify

    def watched(classifier: Any, *given: Any, **settings: Any) -> Any:
        hook = classifier.register_forward_hook(lambda *_: None)
        classifier.head.register_forward_hook(
            lambda _module, _given, scores: inside.append(scores.dtype is torch.float32)
        )
        hook.remove()
        return answer(classifier, *given, **settings)

    monkeypatch.setattr(finetune, "classify", watched)
    quick = replace(readout, choices=(Choice(1, 0.01, "none"),))
    quick.measure(encoder, labeled, random_seed=0, compute=Compute(torch.device("cpu"), torch.bfloat16))
    assert inside
    assert all(inside)


def test_raw_pixels_cannot_be_fine_tuned(readout: Finetune, labeled: Labeled, compute: Compute) -> None:
    """They have no weights, and that is said."""
    with pytest.raises(UserError, match="no weights to fine-tune"):
        readout.measure(Pixels(), labeled, random_seed=0, compute=compute)


def test_every_training_has_streams_of_its_own(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Squares, head and order of each fold and of each half that validates are drawn apart."""
    drawn: list[tuple[Any, ...]] = []
    stream, seed = finetune.torch_stream, finetune.torch_seed
    monkeypatch.setattr(finetune, "torch_stream", lambda *index: drawn.append(index) or stream(*index))
    monkeypatch.setattr(finetune, "torch_seed", lambda *index: drawn.append(index) or seed(*index))
    quick = replace(readout, choices=(Choice(1, 0.01, "none"),))
    work = Work(quick, encoder, labeled, random_seed=3, compute=compute)
    for fold, part in ((0, 0), (0, 1), (1, 0)):
        work.fit(Training(labeled.train[fold], fold, part), 0)
    purposes = ("squares", "head on labels", "training on labels")
    assert drawn == [(3, purpose, *index) for index in ((0, 0), (0, 1), (1, 0)) for purpose in purposes]


def test_among_equal_choices_the_first_is_used(
    readout: Finetune, encoder: Encoder, labeled: Labeled, compute: Compute
) -> None:
    """Two trainings that hardly move answer alike."""
    still = tuple(Choice(1, rate, "none") for rate in (1e-9, 2e-9))
    measured = replace(readout, choices=still).measure(encoder, labeled, random_seed=0, compute=compute)
    assert [chosen["learning_rate"] for chosen in measured.chosen] == [1e-9] * 3
