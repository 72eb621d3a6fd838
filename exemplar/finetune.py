"""Encoder + labels -> classifier, trained on transformed patches of the labeled images and tested by its own softmax.

From random filters it is the supervised baseline. The labeled images take the place of the seeds' windows: each gives
squares at random places and scales, smoothed as seeds are where they are wider than 32 pixels; classes are the labels.
How long, how fast and with which augmentation is chosen inside the training data, as C is for the SVM.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from exemplar.datasets.base import Labeled
from exemplar.datasets.evaluation import Measurement, measure_accuracy
from exemplar.datasets.splits import Split, extra_labels, selection_splits
from exemplar.datasets.streams import torch_seed, torch_stream
from exemplar.errors import UserError
from exemplar.io.atomic import remove
from exemplar.io.unfinished import cached_result
from exemplar.models.network import Encoder, Pixels
from exemplar.runtime.device import Compute
from exemplar.surrogate.ranges import Ranges
from exemplar.training.classifier import Classifier
from exemplar.training.contract import Epoch, Settings
from exemplar.training.labeled import labeled_samples, limited, some_patches, start
from exemplar.training.loop import fit
from exemplar.training.sliding import classify
from exemplar.training.watch import DivergedError


@dataclass(frozen=True)
class Choice:
    """What is chosen for a training: its length, its learning rate and which part of the augmentation it has."""

    epochs: int
    learning_rate: float
    augmentation: str


@dataclass(frozen=True)
class Training:
    """Which images are trained on: those of a fold (from 0), or a part of them that validation leaves (from 1)."""

    images: Int64[np.ndarray, " m"]
    fold: int
    part: int = 0

    @property
    def name(self) -> str:
        """For people and for folders."""
        return f"fold-{self.fold + 1}" + (f"-half-{self.part}" if self.part else "")


@dataclass(frozen=True)
class Finetune:
    """Training on each fold's labeled images (`finetune` in params.yaml); `validation` is the protocol's, as for C."""

    crops_per_image: int
    scales: tuple[float, ...]
    batch_size: int
    momentum: float
    weight_decay: float
    augmentation: Ranges
    choices: tuple[Choice, ...]
    validation: str

    @classmethod
    def of(cls, section: Mapping[str, Any], *, validation: str) -> "Finetune":
        """The readout that the section `finetune` of params.yaml describes."""
        own = {field.name: section[field.name] for field in fields(cls) if field.name in section}
        own["scales"] = tuple(section["scales"])
        own["choices"] = tuple(Choice(**choice) for choice in section["choices"])
        own["augmentation"] = Ranges(**section["augmentation"])
        return cls(**own, validation=validation)

    def settings(self, choice: Choice) -> Settings:
        """The settings of a training with one choice."""
        return Settings(
            epochs=choice.epochs,
            batch_size=self.batch_size,
            learning_rate=choice.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            section="finetune.choices",
            new_samples=True,
        )

    def measure(
        self,
        encoder: Encoder | Pixels,
        labeled: Labeled,
        *,
        random_seed: int,
        compute: Compute,
        unfinished: Path | None = None,
    ) -> Measurement:
        """Accuracy of the network trained on each fold's labeled images, what was chosen, and the learning curves.

        Scores of choices, finished folds and the checkpoint of the training at work are kept in the folder
        `unfinished`.
        """
        if not isinstance(encoder, Encoder):
            raise UserError("raw pixels have no weights to fine-tune; expected an encoder with layers")
        work = Work(self, encoder, labeled, random_seed=random_seed, compute=compute, unfinished=unfinished)
        folds = range(len(labeled.test))
        numbers = (
            [work.choose(fold) for fold in folds] if self.validation == "nested" else [work.choose(0)] * len(folds)
        )
        results = [work.measure_fold(fold, number) for fold, number in zip(folds, numbers, strict=True)]
        return measure_accuracy(
            labeled,
            [predicted for _, predicted in results],
            labels_for_choice=work.labels_for_choice(),
            chosen=[asdict(self.choices[number]) for number in numbers],
            curves=[curve for curve, _ in results],
        )


class Work:
    """The trainings of one measurement: an encoder, a labeled set, and where unfinished work is kept."""

    def __init__(
        self,
        readout: Finetune,
        encoder: Encoder,
        labeled: Labeled,
        *,
        random_seed: int,
        compute: Compute,
        unfinished: Path | None = None,
    ) -> None:
        self.readout, self.encoder, self.labeled = readout, encoder, labeled
        self.random_seed, self.compute, self.unfinished = random_seed, compute, unfinished

    def measure_fold(self, fold: int, number: int) -> tuple[list[dict[str, float]], Int64[np.ndarray, " t"]]:
        """The learning curve of one fold, and the classes that its test images were taken for."""
        work = partial(self.train_and_test, fold, number)
        curve, predicted = cached_result(self.unfinished, f"fold-{fold + 1}", work)
        if self.unfinished:
            for folder in self.unfinished.glob(f"fold-{fold + 1}-*/"):
                remove(folder)
        return curve, np.array(predicted)

    def train_and_test(self, fold: int, number: int) -> tuple[list[dict[str, float]], Int64[np.ndarray, " t"]]:
        """The learning curve of one fold, and the classes that its test images were taken for."""
        classifier, epochs = self.fit(Training(self.labeled.train[fold], fold), number)
        return [epoch.numbers() for epoch in epochs], self.classify(classifier, self.labeled.test[fold])

    def choose(self, fold: int) -> int:
        """The number of the choice with the best accuracy on the validation images; among equals the first."""
        if len(self.readout.choices) == 1:
            return 0
        scores = [self.validate(training, images) for training, images in self.validations(fold)]
        return int(np.mean(scores, 0).argmax())

    def validations(self, fold: int) -> list[tuple[Training, Int64[np.ndarray, " v"]]]:
        """The trainings that choices are compared on, each with its validation images.

        On other folds' images it is the first fold's own training, which is then not done again.
        """
        if self.readout.validation == "other_folds":
            return [(Training(train, fold), images) for train, images in self.splits(fold)]
        return [
            (Training(train, fold, part), images) for part, (train, images) in enumerate(self.splits(fold), start=1)
        ]

    def splits(self, fold: int) -> list[Split]:
        """The splits of the protocol; of those by other folds the first, because each choice is a whole training."""
        validation = self.readout.validation
        splits = selection_splits(self.labeled, validation=validation, random_seed=self.random_seed, fold=fold)
        return splits[:1] if validation == "other_folds" else splits

    def labels_for_choice(self) -> int:
        """The labeled images that choosing used beyond a fold's own, in the fold with the most."""
        if len(self.readout.choices) == 1:
            return 0
        return max(extra_labels(train, self.splits(fold)) for fold, train in enumerate(self.labeled.train))

    def validate(self, training: Training, images: Int64[np.ndarray, " v"]) -> list[float]:
        """The accuracy on validation images after training with each choice."""
        return [
            cached_result(
                self.unfinished, f"{training.name}-score-{number + 1}", partial(self.score, training, number, images)
            )
            for number in range(len(self.readout.choices))
        ]

    def score(self, training: Training, number: int, images: Int64[np.ndarray, " v"]) -> float:
        """The accuracy on some images after training with one choice; 0 where that training diverges."""
        try:
            classifier, _ = self.fit(training, number)
        except DivergedError:
            return 0.0
        return float((self.classify(classifier, images) == self.labeled.labels[images]).mean())

    def classify(self, classifier: Classifier, images: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The classes that a trained network gives to some images of the labeled set."""
        return classify(classifier, self.labeled.images[images], scales=self.readout.scales, compute=self.compute)

    def fit(self, training: Training, number: int) -> tuple[Classifier, list[Epoch]]:
        """Train with one choice, and return the classifier with its learning curve."""
        readout, choice, stream = self.readout, self.readout.choices[number], (training.fold, training.part)
        samples = labeled_samples(
            self.labeled.images[training.images],
            self.labeled.labels[training.images],
            crops_per_image=readout.crops_per_image,
            epochs=choice.epochs,
            scales=readout.scales,
            ranges=limited(readout.augmentation, choice.augmentation),
            key=torch_seed(self.random_seed, "squares", *stream),
        )
        patches = some_patches(samples)
        head = torch_stream(self.random_seed, "head on labels", *stream)
        classifier = start(self.encoder, patches, classes=len(self.labeled.classes), generator=head)
        work_folder = self.unfinished / f"{training.name}-choice-{number + 1}" if self.unfinished else None
        epochs = fit(
            classifier,
            samples,
            readout.settings(choice),
            compute=self.compute,
            random_seed=torch_seed(self.random_seed, "training on labels", *stream),
            label=f"{training.name} choice {number + 1}",
            checkpoint=work_folder / "state.pt" if work_folder else None,
        )
        return classifier, list(epochs)
