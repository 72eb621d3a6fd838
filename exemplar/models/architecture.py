"""The language of network names: "64c5-128c5-256c5-512f" <-> (Conv(64, 5), Conv(128, 5), Conv(256, 5), Full(512)).

The paper's notation (section 4): `64c5` is a convolution with 64 filters of 5 x 5, `512f` a fully connected layer with
512 units, and a softmax layer always follows. `64c7s2` is the same with stride 2, for the paper's blur network.
"""

import re
from dataclasses import dataclass

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError

LARGEST_WIDTH = 65_536
MOST_LAYERS, MOST_WEIGHTS = 100, 1 << 30  # of all layers, 4 GB; the paper's largest network has 55 million
POOLED_LAYERS = 2
EXPECTED = (
    "expected convolutions and then fully connected layers joined by '-', such as 64c5-128c5-256c5-512f or 64c7s2-128f"
)


@dataclass(frozen=True)
class Conv:
    """A convolution: `filters` of `side` x `side` pixels, moved by `stride`."""

    filters: int
    side: int
    stride: int = 1

    def __str__(self) -> str:
        return f"{self.filters}c{self.side}" + (f"s{self.stride}" if self.stride > 1 else "")


@dataclass(frozen=True)
class Full:
    """A fully connected layer of `units`."""

    units: int

    def __str__(self) -> str:
        return f"{self.units}f"


Layer = Conv | Full
Architecture = tuple[Layer, ...]

CONV = re.compile(r"([1-9]\d{0,5})c([1-9]\d{0,1})(?:s([2-4]))?", re.ASCII)
FULL = re.compile(r"([1-9]\d{0,5})f", re.ASCII)


def parse_layer(word: str, model: str) -> Layer:
    """Read one word of a model string."""
    if not word:
        raise UserError(f"model {model!r}: {stray_hyphen(model)}; {EXPECTED}")
    if re.fullmatch(r"0+\d*[cf].*|\d+c0\d*.*|\d+c\d+s0\d*", word, re.ASCII):
        raise UserError(
            f"model {model!r}: {word!r} has a 0 where a number begins; expected numbers of filters, units and pixels "
            "from 1, such as 64c5 or 512f"
        )
    if matched := CONV.fullmatch(word):
        filters, side, stride = (int(group or 1) for group in matched.groups())
        layer: Layer = Conv(filters, side, stride)
        if side % 2 == 0:
            raise UserError(
                f"model {model!r}: {word!r} has filters of even side {side}, which have no centre; use an odd side, "
                f"such as {Conv(filters, side + 1, stride)}"
            )
        width = filters
    elif matched := FULL.fullmatch(word):
        width = int(matched.group(1))
        layer = Full(width)
    else:
        raise UserError(f"model {model!r}: {word!r} is no layer; {EXPECTED}")
    if width > LARGEST_WIDTH:
        raise UserError(f"model {model!r}: {word!r} is wider than {LARGEST_WIDTH}")
    return layer


def stray_hyphen(model: str) -> str:
    """Where the hyphen stands that joins nothing."""
    if model.endswith("-"):
        return "a hyphen stands at its end, and no layer follows"
    return "a hyphen stands at its beginning" if model.startswith("-") else "two hyphens stand side by side"


def parse(model: str) -> Architecture:
    """Read a model string; `str` of the layers joined by '-' gives the same string back.

    Raises UserError, quoting the word that is wrong, for anything outside the language: at least one convolution comes
    first and at least one fully connected layer last.
    """
    if not isinstance(model, str) or not model:
        raise UserError(f"model {model!r} is no string; {EXPECTED}")
    words = model.split("-")
    if len(words) > MOST_LAYERS:
        raise UserError(f"model {model[:40]!r}... has {len(words):,} layers; at most {MOST_LAYERS} are built")
    architecture = tuple(parse_layer(word, model) for word in words)
    kinds = "".join("f" if isinstance(layer, Full) else "c" for layer in architecture)
    if not re.fullmatch("c+f+", kinds):
        lacking = {"c": "no fully connected layer at its end", "f": "no convolution"}.get("".join(sorted(set(kinds))))
        raise UserError(f"model {model!r} has {lacking or 'a convolution behind a fully connected layer'}; {EXPECTED}")
    return architecture


def require_size(architecture: Architecture) -> None:
    """Raise UserError for a network with more weights than a machine trains, or whose strides leave no map to pool."""
    model, total = to_string(architecture), 0
    channels, side, convolutions = 3, PATCH_PIXELS, 0
    for layer in architecture:
        width, kernel = (layer.filters, layer.side) if isinstance(layer, Conv) else (layer.units, side)
        total += channels * width * kernel**2
        if total > MOST_WEIGHTS:
            raise UserError(
                f"model {model!r}: with {str(layer)!r} it would have {total:,} weights; at most {MOST_WEIGHTS:,} are "
                "built, so use fewer filters or units"
            )
        side = -(-side // layer.stride) if isinstance(layer, Conv) else 1
        convolutions += isinstance(layer, Conv)
        if isinstance(layer, Conv) and convolutions <= POOLED_LAYERS:
            side //= 2
        if side == 0:
            raise UserError(f"model {model!r}: no map is left to pool after {layer}; use smaller strides")
        channels = width


def to_string(architecture: Architecture) -> str:
    """The model string of an architecture."""
    return "-".join(map(str, architecture))
