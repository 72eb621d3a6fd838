"""Rows of the transformation table, made when they are needed: of a seed's number and a sample's, and of nothing else.

There is no table: at a hundred samples for each of a million seeds it would have 6 GB.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Float64, Int64
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from exemplar.errors import UserError, reason
from exemplar.io import foreign
from exemplar.surrogate import fused, trial
from exemplar.surrogate.counters import uniforms
from exemplar.surrogate.ranges import RELEASE, Ranges
from exemplar.surrogate.transformation import bounds, colours_of, geometry_of, inside

# Squares that are tried for a sample. The tightest image whose squares are tried at all, CONTEXT times as wide as its
# seed, takes 32 % of the release's: of a million samples 4 are left without one.
ATTEMPTS = 32
CONTEXT = 1.25  # an image at least so many times wider than its seed has samples of its own to draw; docs/log.md
PLACE, COLOURS = 4, 11  # uniform numbers behind a square, and behind its colours
HELD_OUT = 2**31  # the number of the first sample of a seed that is never trained on
NEXT_SEED = 2**32  # rows are counted through all seeds
MOST_BYTES = 1 << 16  # of a file

Squares = tuple[Float64[Tensor, "b 4"], Float64[Tensor, "b 11"]]


@dataclass(frozen=True)
class Draws:
    """`samples` rows under `ranges` for each seed, drawn with `key`; the first of them is sample number `first`."""

    key: Annotated[int, Field(ge=0, lt=2**63)]
    samples: Annotated[int, Field(ge=1, lt=HELD_OUT)]
    ranges: Ranges
    first: int = 0

    def rows(
        self,
        seed: Int64[Tensor, " b"],
        sample: Int64[Tensor, " b"],
        *,
        centre: Float[Tensor, "b 2"],
        side: Float[Tensor, " b"],
        size: tuple[int, int],
    ) -> Float[Tensor, "b p"]:
        """The rows of these samples of seeds, whose centres (x, y) and sides lie in windows of `size` (width, height).

        The square is the first of ATTEMPTS that lies in its window, as the release drops those that do not: samples
        come from real pixels. Where none does, the first is mirrored at the border, and so is all that leaves an image
        hardly wider than its seed (CIFAR's): the first that fit would all be zoomed in and hardly shifted. Computed in
        float64, so that every device decides and rounds alike.
        """
        draw, where = self.squares, {"centre": centre, "side": side}
        if len(seed) and fused.works("squares", seed.device, apart):
            draw = self.squares_fused
        square, dice = draw(seed, sample, size=size, **where)
        return torch.cat([square, colours_of(dice, self.ranges)], 1).float()

    def squares(
        self,
        seed: Int64[Tensor, " b"],
        sample: Int64[Tensor, " b"],
        *,
        centre: Float[Tensor, "b 2"],
        side: Float[Tensor, " b"],
        size: tuple[int, int],
    ) -> Squares:
        """The square of each sample, and the uniform numbers behind its colours."""
        dice = uniforms(self.key, self.counter(seed, sample), PLACE * ATTEMPTS + COLOURS).double()
        squares = geometry_of(dice[:, COLOURS:].reshape(-1, ATTEMPTS, PLACE), self.ranges)
        fits = inside(squares, centre=centre[:, None].double(), side=side[:, None].double(), size=size)
        fits &= has_context(side, size)[:, None]
        chosen = fits.byte().argmax(1)  # of equal ones the first
        return squares.gather(1, chosen[:, None, None].expand(-1, 1, PLACE))[:, 0], dice[:, :COLOURS]

    def squares_fused(
        self, seed: Int64[Tensor, " b"], sample: Int64[Tensor, " b"], *, size: tuple[int, int], **where: Tensor
    ) -> Squares:
        """The same by a kernel. Raises whatever Triton does where it is not there or cannot compile."""
        from exemplar.surrogate.kernels import squares

        return squares.draw(
            self.key,
            self.counter(seed, sample),
            bounds=bounds(self.ranges, seed.device),
            size=size,
            attempts=ATTEMPTS,
            context=CONTEXT,
            colours=COLOURS,
            **where,
        )

    def counter(self, seed: Int64[Tensor, " b"], sample: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """The number of each sample's row, among all rows of the key."""
        return seed * NEXT_SEED + self.first + sample

    def save(self, path: Path) -> None:
        """Write what decides the rows."""
        path.write_text(json.dumps(TypeAdapter(Draws).dump_python(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, *, remedy: str) -> "Draws":
        """Read what `save` wrote."""
        try:
            return TypeAdapter(cls).validate_json(
                foreign.read(path, most_bytes=MOST_BYTES), strict=True, extra="forbid"
            )
        except (OSError, ValueError) as error:
            found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else reason(error)
            raise UserError(f"cannot read {path} ({found}); {remedy}") from None


def apart(device: torch.device) -> Float64[Tensor, "b 15"]:
    """How far numbers of the kernel are from those of PyTorch's operations, for seeds that are always the same."""
    (centre, side), (seed, sample) = trial.squares(), trial.indices()
    where = {"centre": centre[seed].to(device), "side": side[seed].to(device)}
    draws, seed, sample = Draws(trial.KEY, trial.SAMPLES, RELEASE), seed.to(device), sample.to(device)
    ours, theirs = (
        draw(seed, sample, size=(trial.WIDTH, trial.HEIGHT), **where) for draw in (draws.squares_fused, draws.squares)
    )
    return torch.cat(ours, 1) - torch.cat(theirs, 1)


def has_context(side: Float[Tensor, " n"], size: tuple[int, int]) -> Bool[Tensor, " n"]:
    """Whether windows of `size` are so much wider than their seeds that squares in them are looked for."""
    return CONTEXT * side <= min(size)
