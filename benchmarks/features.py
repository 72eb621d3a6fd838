"""Feature extraction against the bare forward pass, and against lightly's loop for the same."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from benchmarks import material, measure
from benchmarks.measure import LackingError, Rows, Works, check_same, rates
from exemplar.models import initial
from exemplar.models.architecture import parse
from exemplar.models.images import BATCH_PIXELS
from exemplar.models.network import Encoder, max_pool_grid
from exemplar.probe import features
from exemplar.runtime import device
from exemplar.runtime.device import Compute

CELLS, SIDE = (2,), material.SIDE
# The two networks that a probe is measured on most, with their numbers of images.
MODELS = {"64c5-64c5-128f": 512, "64c5-128c5-256c5-512f": 128}


def works(*, quick: bool, repeats: int) -> Works:
    """Two rows for a network."""
    compute = device.choose(device="cpu", precision=measure.precision())
    for against in (against_forward, against_lightly):
        for model, count in MODELS.items():
            encoder = initial.draw_encoder(
                parse(model), mean=torch.full((3, 32, 32), 0.5), generator=torch.Generator().manual_seed(0)
            ).eval()
            images = material.draw_images(4 if quick else count, random_seed=0)
            yield partial(against, encoder, images, compute, repeats=repeats)


def measured(encoder: Encoder, images: UInt8[np.ndarray, "n 3 h w"], compute: Compute) -> Float[np.ndarray, "n d"]:
    """The library's features."""
    return features.measure(encoder, images, side=SIDE, cells=CELLS, compute=compute).values


def ready_batches(images: UInt8[np.ndarray, "n 3 h w"]) -> list[Float[Tensor, "b 3 h w"]]:
    """Images as the network eats them, in batches of the library's size."""
    chunks = torch.split(torch.from_numpy(images), BATCH_PIXELS // SIDE**2)
    return [(chunk.float() / 255).contiguous(memory_format=torch.channels_last) for chunk in chunks]


def forward(encoder: Encoder, batches: list[Float[Tensor, "b 3 h w"]], compute: Compute) -> list[Tensor]:
    """The last batch's maps, after a forward pass over all of them."""
    with torch.inference_mode(), compute.autocast():
        return [encoder.feature_maps(batch) for batch in batches][-1]


def against_forward(encoder: Encoder, images: UInt8[np.ndarray, "n 3 h w"], compute: Compute, *, repeats: int) -> Rows:
    """From bytes to pooled features, against the network's products on ready tensors."""
    batches = ready_batches(images)
    maps = forward(encoder, batches, compute)
    pooled = torch.cat([max_pool_grid(layer, CELLS[0]) for layer in maps], 1).float().numpy()
    check_same("features", np.array_equal(measured(encoder, images, compute)[-len(pooled) :], pooled))
    yield rates(
        f"features of {encoder.model}, against the bare forward pass",
        lambda: measured(encoder, images, compute),
        lambda: forward(encoder, batches, compute),
        amount=(len(images), len(images)),
        unit="images/s",
        target=0.9,
        repeats=repeats,
    )


class Backbone(nn.Module):
    """The encoder's pooled features as the one vector that lightly expects."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.backbone = lambda images: torch.cat(encoder.extract_features(images, CELLS), 1)


class Named(torch.utils.data.Dataset[tuple[Tensor, int, str]]):
    """Images in memory with the names that lightly sorts by."""

    def __init__(self, images: UInt8[np.ndarray, "n 3 h w"]) -> None:
        self.images, self.names = images, [f"{index:06}" for index in range(len(images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int, str]:
        return torch.from_numpy(self.images[index]).float() / 255, 0, self.names[index]

    def get_filenames(self) -> list[str]:
        """The names, in order."""
        return self.names


def against_lightly(encoder: Encoder, images: UInt8[np.ndarray, "n 3 h w"], compute: Compute, *, repeats: int) -> Rows:
    """The same features by lightly's loop, which knows no other precision than float32."""
    try:
        from lightly.embedding import SelfSupervisedEmbedding
    except ImportError as error:
        raise LackingError(f"lightly cannot be imported ({error})") from None
    loader = torch.utils.data.DataLoader(Named(images), batch_size=BATCH_PIXELS // SIDE**2)
    peer = SelfSupervisedEmbedding(Backbone(encoder), None, None, loader)
    ours, theirs = measured(encoder, images, compute), peer.embed(loader)[0]
    check_same("features", float(np.abs(ours - theirs).max()) < 0.02 * float(np.abs(theirs).max()))
    yield rates(
        f"features of {encoder.model}, against lightly",
        lambda: measured(encoder, images, compute),
        lambda: peer.embed(loader),
        amount=(len(images), len(images)),
        unit="images/s",
        target=1.0,
        repeats=repeats,
    )
