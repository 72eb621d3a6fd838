"""Strict loading of params.yaml: types, ranges and meaning, and no defaults.

A default in code would be a number that DVC cannot see. Unknown keys and missing keys both stop the run.
"""

from contextlib import suppress
from difflib import get_close_matches
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)

from exemplar.errors import UserError
from exemplar.io.sources import local_path, shown
from exemplar.models.architecture import parse, require_size
from exemplar.params.names import METHOD, WEIGHTLESS, names_in, require_keys, require_made, require_options
from exemplar.surrogate.ranges import Float, NamedRanges, Positive, Ranges, magnitudes, resolve

FORMER_ROWS = (
    "is no encoder: a row is an encoder and a readout, and finetune.methods says which encoders are fine-tuned "
    "(random there is the supervised row, exemplar the former finetune)"
)

# No number may ask for more than a large machine has.
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Seeds = Annotated[int, Field(ge=1, le=4_000_000, strict=True)]
BatchSize = Annotated[int, Field(ge=1, le=65_536, strict=True)]
Few = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Cells = Annotated[int, Field(ge=1, le=64, strict=True)]
Number = Annotated[Float, Field(gt=0, le=1e6)]
Decay = Annotated[Float, Field(ge=0, le=1e6)]
LONGEST_LIST = 1000
LISTED = Field(max_length=LONGEST_LIST)
Share = Annotated[Float, Field(ge=0, lt=1)]
Scale = Annotated[Float, Field(gt=0, le=1)]


def name_in(package: str, *, having: str) -> AfterValidator:
    """Accept one of the names that a package offers."""

    def check(name: str) -> str:
        known = names_in(package, having=having)
        if name in ("finetune", "supervised") and package == "methods":
            raise ValueError(FORMER_ROWS)
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise ValueError(
                f"is unknown; expected one of {', '.join(known)}" + (f" (perhaps {near[0]}?)" if near else "")
            )
        return name

    return AfterValidator(check)


def require_weights(name: str) -> str:
    """Accept a method whose encoder has weights to fine-tune."""
    weightless = names_in("methods", having=WEIGHTLESS)
    if name in weightless:
        tunable = (other for other in names_in("methods", having=METHOD) if other not in weightless)
        raise ValueError(f"has no weights to fine-tune; expected one of {', '.join(tunable)}")
    return name


def different(names: list[str]) -> list[str]:
    """Accept a list without repetitions: every name becomes a stage of its own."""
    if len(set(names)) < len(names):
        raise ValueError("names something twice; expected every name once")
    return names


def absolute(source: str) -> str:
    """Accept a URL or an absolute path; whoever fetches it says what else is wrong with it."""
    place = None
    with suppress(UserError):
        place = local_path(source)
    if place and not place.is_absolute():
        raise ValueError(
            "is a relative path, which --temp and --queue would look for in another folder; expected a URL or an "
            "absolute path"
        )
    return source


def model_string(model: str) -> str:
    """Accept a string of the architecture language."""
    require_size(parse(model))
    return model


Source = Annotated[str, AfterValidator(absolute)]
Unlabeled = Annotated[str, name_in("datasets", having=r"^def write_unlabeled\(")]
Dataset = Annotated[str, name_in("datasets", having=r"^def write_labeled\(")]
Method = Annotated[str, name_in("methods", having=METHOD)]
Tunable = Annotated[Method, AfterValidator(require_weights)]


class Section(BaseModel):
    """A part of params.yaml: nothing more and nothing less than its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSection(Section):
    url: Source | None
    mirrors: Annotated[list[Source], Field(max_length=LONGEST_LIST)]
    md5: str | None
    options: dict[str, object]  # of which types, the dataset says

    @field_serializer("url", "mirrors")
    def without_secrets(self, value: str | list[str] | None) -> str | list[str] | None:
        """What MLflow and the report are told: no name, no password, no query."""
        return [shown(each) for each in value] if isinstance(value, list) else value and shown(value)


class SeedsSection(Section):
    count: Seeds
    scales: Annotated[list[Scale], Field(min_length=1, max_length=64)]
    most_overlap: Annotated[Float, Field(ge=0, le=1)] | None


class SurrogateSection(Section):
    samples: Count


class TrainSection(Section):
    recipe: Literal["fast", "release"]
    epochs: Count
    batch_size: BatchSize
    learning_rate: Number
    momentum: Share
    weight_decay: Decay
    negatives: Count | None

    @model_validator(mode="after")
    def batches_have_a_spread(self) -> "TrainSection":
        """Batch normalisation needs more than one sample."""
        if self.recipe == "fast" and self.batch_size == 1:
            raise ValueError("has batch_size 1, but the recipe fast normalises over a batch; expected 2 or more")
        return self


class ChoiceSection(Section):
    epochs: Count
    learning_rate: Number
    augmentation: Literal["none", "geometry", "geometry_and_colour"]


class FinetuneSection(Section):
    methods: Annotated[list[Tunable], AfterValidator(different)]
    crops_per_image: Few
    scales: Annotated[list[Scale], Field(min_length=1, max_length=64)]
    batch_size: BatchSize
    momentum: Share
    weight_decay: Decay
    augmentation: Ranges
    choices: Annotated[list[ChoiceSection], Field(min_length=1, max_length=LONGEST_LIST)]


class ProbeSection(Section):
    side: Annotated[int, Field(ge=32, le=2048, strict=True)]
    cells: Annotated[list[Cells], Field(min_length=1, max_length=64)]
    cell_weights: Annotated[list[Number], Field(max_length=64)]
    percentile: Annotated[Float, Field(gt=0, le=100)]
    C_range: Positive
    C_draws: Few
    intercept_scaling: Number
    validation: Literal["other_folds", "nested", "release_halves"]

    @model_validator(mode="after")
    def one_weight_per_grid(self) -> "ProbeSection":
        """Each grid of cells has a weight."""
        if len(self.cells) != len(self.cell_weights):
            raise ValueError(
                f"has {len(self.cells)} cells but {len(self.cell_weights)} cell_weights; expected one each"
            )
        return self


class MagnitudesSection(Section):
    shift_fraction: Annotated[list[Float], LISTED, magnitudes(neutral=0.0, low=-1.0, high=1.0)]
    angle_degrees: Annotated[list[Float], LISTED, magnitudes(neutral=0.0, low=-180.0, high=180.0)]
    scale_factor: Annotated[list[Float], LISTED, magnitudes(neutral=1.0, low=0.1, high=10.0)]
    hue_offset_turns: Annotated[list[Float], LISTED, magnitudes(neutral=0.0, low=-1.0, high=1.0)]
    contrast_factor: Annotated[list[Float], LISTED, magnitudes(neutral=1.0, low=0.01, high=100.0)]


class InvarianceSection(Section):
    methods: Annotated[list[Method], Field(min_length=1), AfterValidator(different)]
    num_images: Annotated[Count, Field(ge=2)]  # the unit of distances is that of two images
    magnitudes: MagnitudesSection


class ComputeSection(Section):
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]


class Params(Section):
    """All of params.yaml; what each number means stands there, beside its value."""

    model: Annotated[str, AfterValidator(model_string)]
    random_seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)]
    unlabeled: Unlabeled
    datasets: Annotated[list[Dataset], Field(min_length=1), AfterValidator(different)]
    methods: Annotated[list[Method], Field(min_length=1), AfterValidator(different)]
    sources: dict[Dataset, SourceSection]
    seeds: SeedsSection
    surrogate: SurrogateSection
    transformation: Annotated[NamedRanges, BeforeValidator(resolve)]
    train: TrainSection
    tasks: dict[Method, dict[str, Any]]
    finetune: FinetuneSection
    probe: dict[Dataset, ProbeSection]
    invariance: InvarianceSection
    compute: ComputeSection

    @model_validator(mode="after")
    def every_dataset_is_described(self) -> "Params":
        """A dataset that is used says where it comes from, and one that is measured says how."""
        require_made(self.methods, {"finetune": self.finetune.methods, "invariance": self.invariance.methods})
        for name in self.datasets:
            if name not in self.probe:
                raise ValueError(f"there is no section probe.{name}, but datasets names {name}")
        for name in {self.unlabeled, *self.datasets}:
            if name not in self.sources:
                raise ValueError(f"there is no section sources.{name}, but {name} is used")
        for name in names_in("methods", having=METHOD):
            if name not in self.tasks:
                raise ValueError(f"tasks.{name} is missing; {{}} where {name} takes nothing of its own")
            require_keys(name, self.tasks[name])
        for name, source in self.sources.items():
            require_options(name, source.options)
        return self

    def require_listed(self, name: str, *, key: str) -> None:
        """Raise UserError for a dataset or method that the list at a dotted key lacks."""
        listed = attrgetter(key)(self)
        if name not in listed:
            raise UserError(
                f"{key} in params.yaml is [{', '.join(listed)}] and lacks {name!r}; add it, or take one that is there"
            )
