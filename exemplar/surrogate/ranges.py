"""The ranges that transformations are drawn from: types, meaning, and the two families to choose from."""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

# A string such as "0.1" is a mistake in params.yaml, and so is a number that is not finite.
Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
LARGEST_RATIO = 1e6
Spread = Annotated[Float, Field(ge=0, le=8)]


def ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    """Accept [low, high] with low <= high."""
    if bounds[0] > bounds[1]:
        raise ValueError(f"is upside down; expected [low, high], so perhaps [{bounds[1]}, {bounds[0]}]")
    return bounds


def positive(bounds: tuple[float, float]) -> tuple[float, float]:
    """Accept [low, high] with 0 < low <= high <= LARGEST_RATIO."""
    if bounds[0] <= 0:
        raise ValueError("expected two numbers above 0")
    if bounds[1] > LARGEST_RATIO:
        raise ValueError(f"expected two numbers of at most {LARGEST_RATIO:g}")
    return ascending(bounds)


def within(largest: float) -> AfterValidator:
    """Accept [low, high] between -largest and largest."""

    def check(bounds: tuple[float, float]) -> tuple[float, float]:
        if max(map(abs, bounds)) > largest:
            raise ValueError(f"expected numbers between {-largest} and {largest}")
        return ascending(bounds)

    return AfterValidator(check)


Positive = Annotated[tuple[Float, Float], AfterValidator(positive)]


def magnitudes(*, neutral: float, low: float, high: float) -> AfterValidator:
    """Accept numbers between two bounds that grow from one to the next, the neutral one among them."""

    def check(numbers: list[float]) -> list[float]:
        if not all(low <= number <= high for number in numbers):
            raise ValueError(f"expected numbers between {low} and {high}")
        if any(first >= second for first, second in pairwise(numbers)):
            raise ValueError("expected every number above the one before it")
        if neutral not in numbers:
            raise ValueError(f"lacks {neutral}, which changes nothing and which the others are compared with")
        return numbers

    return AfterValidator(check)


@dataclass(frozen=True)
class Ranges:
    """One range [low, high] per elementary transformation; equal bounds at the neutral value switch it off.

    Shifts are fractions of the scaled seed's side, angles degrees, hue full turns; scales, powers, factors ratios.
    Powers and factors are drawn on a logarithmic scale, all else evenly. A PCA factor is 2 ** x with x either normal
    with standard deviation `pca_log2_spread` (the release) or even between minus and plus that number (the paper), one
    per principal component by growing variance. `stretch_fraction` 1 stretches each patch to the full range of values.
    """

    shift_fraction: Annotated[tuple[Float, Float], within(2.0)]
    scale_factor: Positive
    angle_degrees: Annotated[tuple[Float, Float], within(180.0)]
    pca_distribution: Literal["normal", "uniform"]
    pca_log2_spread: tuple[Spread, Spread, Spread]
    stretch_fraction: Annotated[Float, Field(ge=0, le=1)]
    saturation_power: Positive
    saturation_factor: Positive
    saturation_offset: Annotated[tuple[Float, Float], within(1.0)]
    value_power: Positive
    value_factor: Positive
    value_offset: Annotated[tuple[Float, Float], within(1.0)]
    hue_offset_turns: Annotated[tuple[Float, Float], within(1.0)]


# The authors' code of 2014, as it cuts its samples. Its own log has the paper's 72.8 % on STL-10.
RELEASE = Ranges(
    shift_fraction=(-0.25, 0.25),
    scale_factor=(2**-0.5, 2**0.5),
    angle_degrees=(-20.0, 20.0),
    pca_distribution="normal",
    pca_log2_spread=(1.0, 1.0, 0.5),
    stretch_fraction=1.0,
    saturation_power=(0.25, 4.0),
    saturation_factor=(2**-0.5, 2**0.5),
    saturation_offset=(-0.1, 0.1),
    value_power=(0.25, 4.0),
    value_factor=(2**-0.5, 2**0.5),
    value_offset=(-0.1, 0.1),
    hue_offset_turns=(-0.1, 0.1),
)
# The text, arXiv:1406.6909v2, section 2. It names no stretch, so there is none; docs/method.md says what else it leaves
# open and what is done about it.
PAPER = Ranges(
    shift_fraction=(-0.2, 0.2),
    scale_factor=(0.7, 1.4),
    angle_degrees=(-20.0, 20.0),
    pca_distribution="uniform",
    pca_log2_spread=(1.0, 1.0, 1.0),
    stretch_fraction=0.0,
    saturation_power=(0.25, 4.0),
    saturation_factor=(0.7, 1.4),
    saturation_offset=(-0.1, 0.1),
    value_power=(0.25, 4.0),
    value_factor=(0.7, 1.4),
    value_offset=(-0.1, 0.1),
    hue_offset_turns=(-0.1, 0.1),
)
FAMILIES = {"release": RELEASE, "paper": PAPER}


@dataclass(frozen=True)
class NamedRanges(Ranges):
    """The ranges of a family, those that params.yaml replaces among them, and the family's name."""

    family: Literal["release", "paper"]


def resolve(section: object) -> object:
    """Put the family's value wherever `transformation` in params.yaml says null.

    What is wrong in the section stays as it is, for the check of types that comes next.
    """
    if not isinstance(section, dict):
        return section
    family = asdict(FAMILIES.get(str(section.get("family")), RELEASE))
    return {key: family.get(key) if value is None else value for key, value in section.items()}


def geometry_alone(ranges: Ranges) -> Ranges:
    """The same shifts, zooms and rotations, with every colour as it is."""
    return replace(
        ranges,
        pca_log2_spread=(0.0, 0.0, 0.0),
        stretch_fraction=0.0,
        saturation_power=(1.0, 1.0),
        saturation_factor=(1.0, 1.0),
        saturation_offset=(0.0, 0.0),
        value_power=(1.0, 1.0),
        value_factor=(1.0, 1.0),
        value_offset=(0.0, 0.0),
        hue_offset_turns=(0.0, 0.0),
    )
