"""An encoder as one safetensors file: its weights and its model string."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError
from exemplar.io.atomic import replacing
from exemplar.models.architecture import parse
from exemplar.models.network import Encoder, Pixels


def save_encoder(encoder: Encoder | Pixels, path: Path) -> None:
    """Write the weights and the model string into one safetensors file."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"model": encoder.model})


def load_encoder(path: str | Path, *, remedy: str = "remove it and run the train stage again") -> Encoder | Pixels:
    """Read an encoder as it was saved, on the CPU, in evaluation mode; raises UserError with this remedy."""
    try:
        with safe_open(path, framework="pt") as opened:
            model = (opened.metadata() or {}).get("model", "")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no dict and cannot be iterated
        return Pixels() if model == Pixels.model and not tensors else rebuilt(model, tensors).eval()
    except (OSError, SafetensorError, UserError, LookupError, RuntimeError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"cannot read the encoder {path} ({said}); {remedy}") from None


def rebuilt(model: str, tensors: dict[str, Tensor]) -> Encoder:
    """The encoder of a model string with these weights; raises for weights that are not its own.

    It takes no memory before every shape is known to be right, whatever the string promises.
    """
    with torch.device("meta"):
        encoder = Encoder(parse(model), mean=tensors["mean"])
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not tensor.isfinite().all():
            raise ValueError(f"{name!r} is not made of finite numbers of 32 bits")
    if tensors["mean"].shape != (3, PATCH_PIXELS, PATCH_PIXELS):
        raise ValueError("'mean' is no mean of patches")
    wanted = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
        raise ValueError(f"its weights are not those of its model {model!r}")
    encoder.load_state_dict(tensors, assign=True)
    return encoder
