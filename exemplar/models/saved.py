"""An encoder as one safetensors file: its weights and its model string."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from exemplar.datasets.base import PATCH_PIXELS
from exemplar.errors import UserError
from exemplar.io import foreign
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
        foreign.require_header(Path(path))
        with safe_open(path, framework="pt") as opened:
            model = (opened.metadata() or {}).get("model", "")
            if model == Pixels.model and not opened.keys():
                return Pixels()
            encoder = bare(model)
            found = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  # it is no dict and cannot be iterated
            shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
            if {name: tuple(tensor.get_shape()) for name, tensor in found.items()} != shapes:
                raise ValueError(f"its weights are not those of its model {model!r}")
            tensors = {name: opened.get_tensor(name) for name in found}
        for name, tensor in tensors.items():
            if tensor.dtype != torch.float32 or not tensor.isfinite().all():
                raise ValueError(f"{name!r} is not made of finite numbers of 32 bits")
        encoder.load_state_dict(tensors, assign=True)
        return encoder.eval()
    except (OSError, SafetensorError, UserError, LookupError, RuntimeError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"cannot read the encoder {path} ({said}); {remedy}") from None


def bare(model: str) -> Encoder:
    """The encoder of a model string without numbers, which takes no memory, whatever the string promises."""
    with torch.device("meta"):
        return Encoder(parse(model), mean=torch.empty(3, PATCH_PIXELS, PATCH_PIXELS))
