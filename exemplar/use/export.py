"""A trained encoder as one file that runs without this project: in PyTorch (.pt2), or wherever ONNX does (.onnx)."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from exemplar.errors import UserError
from exemplar.io.atomic import replacing
from exemplar.models.network import Encoder, Pixels
from exemplar.use.loaded import LoadedEncoder

OPSET = 18
LARGEST_DIFFERENCE = 1e-4  # of the largest feature; the two engines add up in different orders
TRIED = 3  # images; not the number that the network was traced with

Run = Callable[[Float[np.ndarray, "n 3 s s"]], Float[np.ndarray, "n d"]]


class Featurizer(nn.Module):
    """Images (0..1) of one size -> their features, as `LoadedEncoder.features` has them."""

    def __init__(self, encoder: Encoder | Pixels, cells: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.cells = encoder, cells

    def forward(self, images: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """The pooled maps of all layers, side by side."""
        return torch.cat(self.encoder.extract_features(images, self.cells), 1)


def export(loaded: LoadedEncoder, path: Path, *, side: int) -> float:
    """Write the encoder for images of side x side pixels, in batches of any size, as the name of the file says.

    The written file is run, and has to give the features that the encoder gives: their largest difference is returned,
    as a share of the largest feature. Raises UserError for another ending, for a package that is not installed, and
    for a difference above 1e-4, and then nothing is written.
    """
    write, read = formats(path)
    loaded.require_size(side, side)
    images = torch.rand(TRIED, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        program = torch.export.export(
            Featurizer(loaded.encoder, loaded.cells),
            (images[:2].clone(),),
            dynamic_shapes=({0: torch.export.Dim("images", min=1)},),
            strict=False,
        )
    expected = loaded.features(images)
    with replacing(path) as temporary:
        write(program, temporary)
        answered = read(temporary)(images.numpy())
        difference = float(np.abs(answered - expected).max() / np.abs(expected).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise UserError(
                f"{path} would answer otherwise than the encoder: features differ by {difference:.1e} of the largest "
                f"one, expected {LARGEST_DIFFERENCE:.0e} or less; nothing is written"
            )
    return difference


def formats(path: Path) -> tuple[Callable[[torch.export.ExportedProgram, Path], None], Callable[[Path], Run]]:
    """How to write a file of this name, and how to run it; raises UserError where neither is known."""
    if path.suffix == ".pt2":
        return save_torch, run_torch
    if path.suffix != ".onnx":
        raise UserError(f"{path} is no format of networks; expected a name that ends in .onnx or .pt2")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise UserError(f"an .onnx file needs {package}; run pip install 'exemplar[onnx]', or write a .pt2 file")
    return save_onnx, run_onnx


def save_torch(program: torch.export.ExportedProgram, path: Path) -> None:
    """A program of PyTorch, which `torch.export.load(path).module()` reads without this package."""
    with path.open("wb") as file:
        torch.export.save(program, file)


def run_torch(path: Path) -> Run:
    """What such a file computes."""
    with path.open("rb") as file:
        module = torch.export.load(file).module()
    return lambda images: module(torch.from_numpy(images)).detach().numpy()


def save_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """A graph with the input `images` and the output `features`, its weights inside."""
    written = torch.onnx.export(
        program, (), input_names=["images"], output_names=["features"], opset_version=OPSET, dynamo=True, verbose=False
    )
    assert written is not None
    written.save(path, external_data=False)


def run_onnx(path: Path) -> Run:
    """What such a file computes in onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["features"], {"images": images})[0]
