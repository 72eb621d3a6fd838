"""A model string -> what a network of it computes: the shape of every layer's output, its weights, its work.

It imports no torch, so that it answers at once, before anybody trains.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError, reason
from exemplar.io import foreign
from exemplar.io.sources import is_there
from exemplar.models.architecture import POOLED_LAYERS, Conv, parse


@dataclass(frozen=True)
class LayerSize:
    """One layer: the shape [channels height width] of its map, its numbers, and the products of one image."""

    layer: str
    output: tuple[int, int, int]
    parameters: int
    multiply_adds: int


def sizes(model: str, *, side: int) -> list[LayerSize]:
    """The layers of a network on images of `side` x `side` pixels; a map is pooled behind the first two convolutions.

    Raises UserError for a string that is no model, and for images that are too small for it.
    """
    described, channels, place, patch, convolutions = [], 3, side, PATCH_PIXELS, 0
    for layer in parse(model):
        if isinstance(layer, Conv):
            width, kernel = layer.filters, layer.side
            place, patch, convolutions = -(-place // layer.stride), -(-patch // layer.stride), convolutions + 1
        else:
            width, kernel = layer.units, patch
            place, patch = place - kernel + 1, 1
        if place < 1 or kernel < 1:
            raise UserError(
                f"model {model!r}: no place is left in {layer} for images of {side} pixels; use larger ones"
            )
        weights = channels * width * kernel**2
        described.append(LayerSize(str(layer), (width, place, place), weights + width, weights * place**2))
        if isinstance(layer, Conv) and convolutions <= POOLED_LAYERS:
            place, patch = place // 2, patch // 2
        channels = width
    return described


def as_json(model: str, *, side: int, cells: int) -> dict[str, Any]:
    """The layers, their sums, and how many features an image gets in a grid of `cells` x `cells`."""
    layers = sizes(model, side=side)
    return {
        "model": model,
        "side": side,
        "layers": [asdict(layer) for layer in layers],
        "parameters": sum(layer.parameters for layer in layers),
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
        "features": cells**2 * sum(layer.output[0] for layer in layers),
    }


def as_text(told: Mapping[str, Any], *, cells: int) -> str:
    """The same as a table."""
    rows = [
        (layer["layer"], " x ".join(map(str, layer["output"])), layer["parameters"], layer["multiply_adds"])
        for layer in told["layers"]
    ]
    rows.append(("all", f"{told['features']:,} features", told["parameters"], told["multiply_adds"]))
    head = f"{told['model']} on images of {told['side']} x {told['side']} pixels, features in {cells} x {cells} cells"
    lines = [head, f"{'layer':10}{'output':>18}{'parameters':>16}{'multiply-adds':>20}"]
    lines += [f"{name:10}{output:>18}{weights:>16,}{products:>20,}" for name, output, weights, products in rows]
    return "\n".join(lines)


def string_of(model: str) -> str:
    """A model string itself, or that of an encoder's file; raises UserError for a file that is not there."""
    path = Path(model)
    if model and is_there(path):
        return model_of(path)
    if path.suffix or "/" in model:
        raise UserError(
            f"there is no file {path}; expected a .safetensors file of a training, or a model string such as "
            "64c5-128c5-256c5-512f"
        )
    return model


def model_of(path: Path) -> str:
    """The model string of a saved encoder; raises UserError for another file."""
    from safetensors import SafetensorError, safe_open

    try:
        foreign.require_header(path)
        with safe_open(path, framework="np") as opened:
            return str((opened.metadata() or {})["model"])
    except (OSError, SafetensorError, LookupError, ValueError) as error:
        raise UserError(f"{path} is no encoder ({reason(error)}); expected a .safetensors file of a training") from None
