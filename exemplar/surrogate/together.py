"""Rows of several tasks at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from exemplar.surrogate.patches import Patches, Rows


@dataclass(frozen=True)
class Together(Patches):
    """Rows that hold a row of each part: its patches, and its columns under names that begin with the part's."""

    parts: Mapping[str, Patches] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Mapping[str, Patches]) -> "Together":
        """Rows of parts that are equally long and cut out of the same images."""
        image, centre, side = (
            torch.cat([getattr(part, key) for part in parts.values()], 1) for key in ("image", "centre", "side")
        )
        return cls(images=next(iter(parts.values())).images, image=image, centre=centre, side=side, parts=parts)

    def to(self, device: torch.device) -> "Together":
        """The same on another device, where the images lie once."""
        moved = super().to(device)
        assert isinstance(moved, Together)
        parts = {name: replace(part, images=moved.images).to(device) for name, part in self.parts.items()}
        return replace(moved, parts=parts)

    def render(self, indices: Int64[Tensor, " b"]) -> Rows:
        """All patches of some rows, part by part, and all columns."""
        rows = {name: part.render(indices) for name, part in self.parts.items()}
        columns = {f"{name}.{key}": values for name, (_, own) in rows.items() for key, values in own.items()}
        return torch.cat([patches for patches, _ in rows.values()], 1), columns


def apart(rows: Rows, widths: Mapping[str, int]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """The rows of each part, out of those of all; `widths` are its patches in a row."""
    patches = dict(zip(widths, torch.split(rows[0], list(widths.values()), 1), strict=True))
    columns: dict[str, dict[str, Tensor]] = {name: {} for name in widths}
    for key, values in rows[1].items():
        name, _, own = key.partition(".")
        columns[name][own] = values
    return {name: (patches[name], columns[name]) for name in widths}
