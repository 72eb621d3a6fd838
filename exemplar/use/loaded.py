"""A trained encoder, out of a file or a run, that turns images of any kind into features."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exemplar.errors import UserError
from exemplar.io.sources import is_there
from exemplar.models import saved
from exemplar.models.images import images_at_once, resize
from exemplar.models.network import Encoder, Pixels
from exemplar.probe.features import exact_inference
from exemplar.runtime.device import enough_memory
from exemplar.tracking.serving import require_size, unit_range
from exemplar.use.inputs import Images, is_one, middle_square, to_batches
from exemplar.use.shipped import SHIPPED

EXPECTED = "expected a .safetensors file, or a run of MLflow"
SMALLER = "pass a smaller side, or the device cpu"  # where memory is short


class LoadedEncoder:
    """An encoder in evaluation mode, and how its maps become one vector: max-pooled in each grid of `cells`."""

    def __init__(self, encoder: Encoder | Pixels, *, cells: tuple[int, ...] = (2,)) -> None:
        require_counts(cells=cells)
        self.encoder, self.cells, self.model = encoder.eval(), cells, encoder.model
        self.device = torch.device("cpu")

    def to(self, device: str | torch.device) -> "LoadedEncoder":
        """Move the encoder to a device, where its features are computed from then on."""
        self.device = torch.device(device)
        self.encoder.to(self.device)
        return self

    def features(self, images: Images, *, side: int | None = None) -> Float[np.ndarray, "..."]:
        """The features of one image [d], or of many [n d]; float32, not scaled.

        An image is a path, a PIL image, or an array or tensor [3 h w] or [h w 3] of bytes or of floats between 0 and 1;
        many are a list or another iterable of images, or one array [n 3 h w] or [n h w 3]. With `side` its largest
        middle square is scaled to so many pixels; without, it is taken as it is. Raises UserError for what is no image.
        """
        rows = [row for block in self.feature_blocks(images, side=side) for row in block]
        if not rows:
            raise UserError("there is no image; expected at least one")
        if len({len(row) for row in rows}) > 1:
            raise UserError("raw pixels of images of several sizes have no common length; pass side=96")
        return rows[0] if is_one(images) else np.stack(rows)

    def feature_blocks(self, images: Images, *, side: int | None = None) -> Iterator[Float[np.ndarray, "n d"]]:
        """The features of `features`, so many rows at once as the network takes: memory does not grow with them."""
        if side is not None:
            require_counts(side=(side,))
        for batch in to_batches(images, side=side):
            height, width = (side, side) if side else batch.shape[2:]
            self.require_size(height, width)
            with enough_memory(f"an image of {height} x {width} pixels; {SMALLER}"):
                at_once = images_at_once(self.encoder, height, width, self.device)
            for chunk in torch.split(batch, at_once):
                yield self.forward(chunk, side=side)

    def block_widths(self, side: int) -> list[int]:
        """How many features each layer gives in each grid of cells, in their order."""
        with exact_inference():
            blocks = self.encoder.extract_features(torch.zeros(1, 3, side, side, device=self.device), self.cells)
        return [block.shape[1] for block in blocks]

    def forward(self, images: Tensor, *, side: int | None) -> Float[np.ndarray, "n d"]:
        """The features of a batch, in float32 on every machine."""
        with (
            enough_memory(f"features of {len(images):,} images; {SMALLER}"),
            exact_inference(),
        ):
            rgb = unit_range(images.to(self.device))
            rgb = resize(middle_square(rgb), side) if side else rgb
            blocks = self.encoder.extract_features(rgb.contiguous(memory_format=torch.channels_last), self.cells)
            return torch.cat(blocks, 1).cpu().numpy()

    def require_size(self, height: int, width: int) -> None:
        """Raise UserError for images that are too small for the network, or too large for the memory."""
        require_size(self.encoder, height, width, cells=self.cells)


def require_counts(**given: Sequence[int]) -> None:
    """Raise UserError for a number below 1, and where there is none."""
    for name, numbers in given.items():
        if min(numbers, default=0) < 1:
            raise UserError(f"{name} is {numbers!r}; expected numbers from 1")


def load_encoder(run_or_file: str | Path = SHIPPED, *, cells: tuple[int, ...] = (2,)) -> LoadedEncoder:
    """Load an encoder from a safetensors file, or from MLflow: a training's run by its id or name, or `model@alias`.

    Without either it is the small one that comes with the package, `cifar10.safetensors`, whose card is beside it.
    Raises UserError for a file that is broken, and for a run that is not there, with the nearest one.
    """
    path, name = Path(run_or_file), str(run_or_file)
    there = name != "" and is_there(path)
    if there and path.is_dir():
        raise UserError(f"{path} is a folder; {EXPECTED}")
    if name and not there and path.suffix != ".safetensors":
        from exemplar.tracking.encoders import fetched

        with fetched(name) as downloaded:
            return LoadedEncoder(saved.load_encoder(downloaded), cells=cells)
    if not there:
        raise UserError(f"there is no encoder {name or repr(name)}; {EXPECTED}")
    return LoadedEncoder(saved.load_encoder(path, remedy="expected a file that a training wrote"), cells=cells)
