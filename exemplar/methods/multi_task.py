"""Multi-task: several pretext tasks at once, one encoder, a head for each (Doersch and Zisserman, "Multi-task
Self-Supervised Visual Learning", ICCV 2017).

A row holds a row of every part, and the parts' networks are those of their own files, with the encoder and its
normalisation in common; a part that sees other colours keeps its own matrix in front. Each loss is divided by that of
the untrained network, whose answer is about the same for all rows, so that every part begins at 1; the mean is learnt.
The score is the mean of the parts' scores, each of which is logged with what else its part tells.

Deviations: the paper's four tasks are relative location, colorization, exemplar and motion segmentation; any of the
tasks on patches can be named here, and no video is read. The paper's heads read sparse mixtures of a ResNet's layers,
which brought it little; here they read what they read alone. Its harmonisation, relative location on grey images, is
`grey_share: 1.0`. Every part normalises its own patches; the paper's tasks have machines of their own.

Expected: in the paper combining tasks always improves. Measured with the published parts: 60.1, 59.7, 59.1 % on
`cifar10_400` after 256,000 encoder passes (random seeds 0 to 2), random filters 54.0, 54.4, 54.4 (docs/log.md).
"""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import Field, ValidationError, field_validator
from torch import Tensor, nn

from exemplar.io.examples import Examples
from exemplar.models.architecture import Architecture
from exemplar.params.mistakes import explain
from exemplar.params.names import names_in
from exemplar.params.schema import Section
from exemplar.surrogate.patches import Patches, Rows
from exemplar.surrogate.together import Together, apart
from exemplar.training.contract import Fitting, TrainInputs
from exemplar.training.learner import Data, Outcome
from exemplar.training.normalized import NormalizedLearner
from exemplar.training.task import SMALLEST_LOSS, fit_task
from exemplar.training.trunk import Trunk

FIRST_ROWS = 64


def module(name: str) -> ModuleType:
    """The file of a part."""
    return import_module(f"exemplar.methods.{name}")


class Options(Section):
    """`parts`: the tasks that are learnt together, each with its own section as under `tasks`."""

    parts: dict[str, Any] = Field(min_length=1)

    @field_validator("parts")
    @classmethod
    def checked(cls, parts: dict[str, Any]) -> dict[str, Section]:
        """Each part's section as its `Options`. A file with `trunks` of its own has several encoders."""
        known = [name for name in names_in("methods", having=r"^def draw\(") if name != "multi_task"]
        several = names_in("methods", having=r"^    def trunks\(")
        for name in parts:
            if name not in known:
                raise ValueError(f"names {name}, which is no other task on patches; expected such as rotation, jigsaw")
            if name in several:
                raise ValueError(f"names {name}, which trains several encoders and has none to share; take it out")
        return {name: checked_part(name, section) for name, section in parts.items()}


def checked_part(name: str, section: object) -> Section:
    """A part's section. Raises ValueError with the first mistake."""
    kind = getattr(module(name), "Options", Section)  # which takes no key
    try:
        options: Section = kind.model_validate(section, strict=True)
    except ValidationError as error:
        raise ValueError(f"{name}.{explain(error, kind)}") from None
    return options


def draw(images: UInt8[np.ndarray, "m 3 h w"], options: Options, *, count: int, generator: torch.Generator) -> Together:
    """As many rows of each part."""
    parts = {}
    for name, section in options.parts.items():
        parts[name] = module(name).draw(images, section, count=count, generator=generator)
    return Together.of(parts)


class MultiTask(NormalizedLearner):
    """The networks of all parts, which share the encoder of the first; `widths` are each part's patches in a row."""

    def __init__(self, learners: Mapping[str, NormalizedLearner], *, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.parts, self.learners = learners, nn.ModuleDict(learners)
        self.widths, self.first_losses = widths, dict.fromkeys(learners, 1.0)
        self.chance = sum(learner.chance for learner in learners.values()) / len(learners)
        own = [trunk for learner in learners.values() for trunk in learner.trunks()]
        self.trunk = Trunk(own[0].encoder)
        for trunk in own:
            trunk.encoder, trunk.norms = self.trunk.encoder, self.trunk.norms

    @torch.no_grad()
    def begin(self, data: Data) -> None:
        """Measure the losses of the untrained networks, each on the first rows of its part."""
        for name, learner in self.parts.items():
            part = data.parts[name]
            learner.begin(part)
            first = learner.eval()(part.render(torch.arange(min(len(part), FIRST_ROWS), device=part.image.device)))
            self.first_losses[name] = max(float(first.loss), SMALLEST_LOSS)
            learner.train()

    def forward(self, batch: Rows) -> Outcome:
        """The mean of the parts' losses, each divided by its first, and of their scores."""
        outcomes = {name: self.learners[name](rows) for name, rows in apart(batch, self.widths).items()}
        losses = [outcome.loss / self.first_losses[name] for name, outcome in outcomes.items()]
        sums = {f"{name}_score": outcome.score for name, outcome in outcomes.items()}
        score = torch.stack(list(sums.values())).mean()
        for name, outcome in outcomes.items():
            sums |= {f"{name}_{key}": value for key, value in outcome.sums.items()}
        return Outcome(torch.stack(losses).mean(), score, sums)

    def examples(self, name: str, batch: Rows) -> list[Examples]:
        """Those of every part."""
        rows = apart(batch, self.widths)
        return [each for part, learner in self.parts.items() for each in learner.examples(part, rows[part])]


def build(
    architecture: Architecture, data: Patches, options: Options, *, mean: Tensor, generator: torch.Generator
) -> MultiTask:
    """Untrained networks of all parts."""
    assert isinstance(data, Together)
    learners = {}
    for name, section in options.parts.items():
        learners[name] = module(name).build(architecture, data.parts[name], section, mean=mean, generator=generator)
    widths = {name: part.render(torch.arange(1))[0].shape[1] for name, part in data.parts.items()}
    return MultiTask(learners, widths=widths)


def passes(images: UInt8[np.ndarray, "m 3 h w"], options: Options) -> int:
    """Those of all parts."""
    files = [module(name) for name in options.parts]
    return sum(file.passes(images) if hasattr(file, "passes") else file.PASSES for file in files)


def fit(inputs: TrainInputs) -> Fitting:
    """Train on rows of all parts."""
    return fit_task(inputs, name="multi_task", draw=draw, build=build, passes=passes(inputs.images, inputs.options))
