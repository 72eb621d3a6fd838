"""How a trained network answers: it slides over images larger than its patches, and its softmax is averaged."""

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.models.images import images_at_once, resize
from exemplar.runtime.device import Compute, enough_memory, more_room
from exemplar.runtime.progress import track
from exemplar.training.classifier import Classifier


def classify(
    classifier: Classifier,
    images: UInt8[np.ndarray, "n 3 h w"],
    *,
    scales: tuple[float, ...],
    compute: Compute,
) -> Int64[np.ndarray, " n"]:
    """The class with the greatest softmax, averaged over all places of the sliding network and over the scales."""
    classifier.eval()
    sides = sorted({max(PATCH_PIXELS, round(images.shape[2] * scale)) for scale in scales})
    advice = f"test images of up to {sides[-1]} pixels; lower finetune.scales, {more_room(compute.device)}"
    predicted = []
    with (
        enough_memory(advice),
        track(total=len(images), unit="images", label="test") as progress,
        torch.inference_mode(),
    ):
        batch = images_at_once(classifier.encoder, sides[-1], sides[-1], compute.device)
        for begin in range(0, len(images), batch):
            chunk = torch.from_numpy(np.array(images[begin : begin + batch])).to(compute.device).float() / 255
            votes = torch.stack([probabilities(classifier, resize(chunk, side)) for side in sides])
            predicted.append(votes.sum(0).argmax(1).cpu())
            progress.advance(len(chunk))
    return torch.cat(predicted).numpy()


def probabilities(classifier: Classifier, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
    """The softmax of each image in float32, averaged over all places where the 32 x 32 network fits."""
    scores = classifier.head(classifier.encoder(images.contiguous(memory_format=torch.channels_last)))
    return functional.softmax(scores, 1).mean((2, 3))
