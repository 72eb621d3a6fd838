"""The ranges that transformations are drawn from: types and meaning; the values stand in params.yaml."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

# A string such as "0.1" is a mistake in params.yaml, and so is a number that is not finite.
Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Spread = Annotated[Float, Field(ge=0, le=8)]


def ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    """Accept [low, high] with low <= high."""
    if bounds[0] > bounds[1]:
        raise ValueError(f"is upside down; expected [low, high], so perhaps [{bounds[1]}, {bounds[0]}]")
    return bounds


def positive(bounds: tuple[float, float]) -> tuple[float, float]:
    """Accept [low, high] with 0 < low <= high."""
    if bounds[0] <= 0:
        raise ValueError("expected two numbers above 0")
    return ascending(bounds)


def within(largest: float) -> AfterValidator:
    """Accept [low, high] between -largest and largest."""

    def check(bounds: tuple[float, float]) -> tuple[float, float]:
        if max(map(abs, bounds)) > largest:
            raise ValueError(f"expected numbers between {-largest} and {largest}")
        return ascending(bounds)

    return AfterValidator(check)


Positive = Annotated[tuple[Float, Float], AfterValidator(positive)]


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
