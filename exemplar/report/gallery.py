"""What the pipeline made, to look at: seeds, their samples, first-layer filters and learning curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from exemplar.errors import UserError, reason
from exemplar.io.examples import Examples, load_examples
from exemplar.models.network import Encoder
from exemplar.models.saved import load_encoder
from exemplar.report.likeness import chosen
from exemplar.surrogate import transformation
from exemplar.surrogate.sets import SurrogateSet

CURVE = ["epoch", "loss", "score", "held_out_score", "chance", "learning_rate", "encoder_passes"]
SEEDS_SHOWN, CLASSES_SHOWN, SAMPLES_SHOWN = 144, 8, 11
UNITS_SHOWN, PATCHES_SHOWN, SEEDS_ASKED, SEEDS_AT_ONCE = 8, 8, 2048, 256


@dataclass(frozen=True)
class Gallery:
    """Pictures as arrays: `samples` has a row per class, seed first; the rest has a name per encoder.

    `exciting` has a row per unit of the last layer: the seeds to which it responds most, the strongest first.
    """

    seeds: UInt8[np.ndarray, "n 3 32 32"]
    samples: UInt8[np.ndarray, "classes k 3 32 32"]
    filters: dict[str, Float[np.ndarray, "_ 3 _ _"]]
    exciting: dict[str, UInt8[np.ndarray, "_ _ 3 32 32"]]
    curves: dict[str, pd.DataFrame]
    examples: dict[str, list[Examples]]


def to_bytes(patches: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n 3 h w"]:
    """Patches between 0 and 1 as bytes."""
    return (patches * 255).round().byte().numpy()


def collect(*, surrogate: Path, encoders: Path, training: Path, methods: Sequence[str]) -> Gallery:
    """Read what the stages wrote about these methods, and render what is shown."""
    surrogate_set = SurrogateSet.load(surrogate)
    shown = torch.linspace(0, len(surrogate_set.label) - 1, min(SEEDS_SHOWN, len(surrogate_set.label))).long()
    classes = shown[:: max(1, len(shown) // CLASSES_SHOWN)][:CLASSES_SHOWN]
    seeds = to_bytes(surrogate_set.transform(shown, transformation.neutral_rows(len(shown))))
    folders = [training / name for name in sorted(methods)]
    loaded = {folder.name: load_encoder(encoders / f"{folder.name}.safetensors") for folder in folders}
    rows = []
    for seed in classes:
        first, count = seed * surrogate_set.draws.samples, min(surrogate_set.draws.samples, SAMPLES_SHOWN)
        table = torch.cat([transformation.neutral_rows(1), surrogate_set.rows(first + torch.arange(count))])
        rows.append(to_bytes(surrogate_set.transform(seed.expand(len(table)), table)))
    networks = {name: encoder for name, encoder in loaded.items() if isinstance(encoder, Encoder)}
    asked = torch.linspace(0, len(surrogate_set.label) - 1, min(SEEDS_ASKED, len(surrogate_set.label))).long()
    patches = surrogate_set.transform(asked, transformation.neutral_rows(len(asked)))
    excited = [(name, exciting(networks[name], patches)) for name in chosen(methods) if name in networks]
    return Gallery(
        seeds=seeds,
        samples=np.stack(rows),
        filters={name: first_filters(encoder) for name, encoder in networks.items()},
        exciting={name: rows for name, rows in excited if len(rows)},
        curves={folder.name: load_curve(folder / "curve.csv") for folder in folders},
        examples={name: load_examples(training / name) for name in methods},
    )


@torch.inference_mode()
def exciting(encoder: Encoder, patches: Float[Tensor, "n 3 32 32"]) -> UInt8[np.ndarray, "units k 3 32 32"]:
    """The patches to which units of the last layer respond most; the units are evenly chosen of those that respond."""
    responses = torch.cat([encoder(part).flatten(1) for part in torch.split(patches, SEEDS_AT_ONCE)])
    alive = torch.nonzero(responses.amax(0) > 0).flatten()
    units = alive[torch.linspace(0, max(0, len(alive) - 1), min(UNITS_SHOWN, len(alive))).long()]
    strongest = responses[:, units].topk(min(PATCHES_SHOWN, len(patches)), dim=0).indices.T
    return to_bytes(patches[strongest.flatten()]).reshape(*strongest.shape, *patches.shape[1:])


def load_curve(path: Path) -> pd.DataFrame:
    """Read the learning curve of a training: finite numbers, the epochs counted from 1.

    Raises UserError for any other table.
    """
    try:
        curve = pd.read_csv(path)
        if list(curve.columns[: len(CURVE)]) != CURVE:  # behind these stands what a task tells besides
            raise ValueError(f"its columns are {', '.join(map(str, curve.columns))}; expected {', '.join(CURVE)}")
        values = curve.to_numpy(np.float64)
        if not np.isfinite(values).all() or list(values[:, 0]) != list(range(1, len(values) + 1)):
            raise ValueError("its epochs are not 1, 2, ... with finite numbers")
    except (OSError, ValueError) as error:
        raise broken(path, error) from None
    return curve


def broken(path: Path, error: Exception) -> UserError:
    """The error for a record of a training that cannot be read."""
    return UserError(f"cannot read {path} ({reason(error)}); remove {path.parent} and run the train stage again")


def first_filters(encoder: Encoder) -> Float[np.ndarray, "n 3 s s"]:
    """The weights of the first convolution."""
    weights = encoder.layers[0].weight
    assert isinstance(weights, Tensor)
    return weights.detach().numpy()
