"""What the pipeline made, to look at: seeds, their samples, first-layer filters and learning curves."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from exemplar import transformation
from exemplar.network import Encoder, load_encoder
from exemplar.surrogate import SurrogateSet

SEEDS_SHOWN, CLASSES_SHOWN, SAMPLES_SHOWN = 144, 8, 11


@dataclass(frozen=True)
class Gallery:
    """Pictures as arrays: `samples` has a row per class, seed first; the rest has a name per encoder."""

    seeds: UInt8[np.ndarray, "n 3 32 32"]
    samples: UInt8[np.ndarray, "classes k 3 32 32"]
    filters: dict[str, Float[np.ndarray, "f 3 s s"]]
    curves: dict[str, pd.DataFrame]
    runs: dict[str, str]


def to_bytes(patches: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n 3 h w"]:
    """Patches between 0 and 1 as bytes."""
    return (patches * 255).round().byte().numpy()


def collect(*, surrogate: Path, encoders: Path, training: Path) -> Gallery:
    """Read the folders that the stages wrote, and render what is shown."""
    found = SurrogateSet.load(surrogate)
    shown = torch.linspace(0, len(found.table) - 1, min(SEEDS_SHOWN, len(found.table))).long()
    classes = shown[:: max(1, len(shown) // CLASSES_SHOWN)][:CLASSES_SHOWN]
    seeds = to_bytes(found.cut(shown, transformation.neutral_rows(len(shown))))
    trained = sorted(training.iterdir())
    loaded = {folder.name: load_encoder(encoders / f"{folder.name}.safetensors") for folder in trained}
    rows = []
    for seed in classes:
        table = torch.cat([transformation.neutral_rows(1), found.table[seed, :SAMPLES_SHOWN]])
        rows.append(to_bytes(found.cut(seed.expand(len(table)), table)))
    return Gallery(
        seeds=seeds,
        samples=np.stack(rows),
        filters={name: first_filters(encoder) for name, encoder in loaded.items() if isinstance(encoder, Encoder)},
        curves={folder.name: pd.read_csv(folder / "curve.csv") for folder in trained},
        runs={folder.name: json.loads((folder / "run.json").read_text())["run_id"] for folder in trained},
    )


def first_filters(encoder: Encoder) -> Float[np.ndarray, "n 3 s s"]:
    """The weights of the first convolution."""
    weights = encoder.layers[0].weight
    assert isinstance(weights, Tensor)
    return weights.detach().numpy()
