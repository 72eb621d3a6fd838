"""`exemplar export`: files that answer as the encoder does, and need nothing of this project."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from exemplar.errors import UserError
from exemplar.models.architecture import parse
from exemplar.models.network import Encoder, Pixels
from exemplar.models.saved import save_encoder
from exemplar.use import export
from exemplar.use.loaded import LoadedEncoder, load_encoder

ALONE = """
import sys, numpy, torch
images, features = (torch.from_numpy(numpy.load(path)) for path in sys.argv[2:])
module = torch.export.load(sys.argv[1]).module()
assert torch.allclose(module(images), features, rtol=1e-4, atol=1e-6)
assert not any(name.split('.')[0] == 'exemplar' for name in sys.modules)
"""


@pytest.fixture
def encoder_file(tmp_path: Path) -> Path:
    """A small encoder with random weights."""
    torch.manual_seed(0)
    save_encoder(Encoder(parse("4c5-4c5-6c3-8f"), mean=torch.rand(3, 32, 32)), tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


@pytest.mark.parametrize(("side", "cells"), [(96, (2,)), (32, (1,)), (80, (4, 1))])
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_file_answers_as_its_encoder(
    encoder_file: Path, tmp_path: Path, side: int, cells: tuple[int, ...], suffix: str
) -> None:
    """To 1e-4 of the largest feature, at the size of patches too, where each pixel has a mean of its own."""
    loaded, out = load_encoder(encoder_file, cells=cells), tmp_path / f"e{suffix}"
    assert export.export(loaded, out, side=side) < 1e-4
    images = np.random.default_rng(1).random((5, 3, side, side), np.float32)
    _, run = export.formats(out)
    expected = loaded.features(images)
    np.testing.assert_allclose(run(out)(images), expected, atol=1e-4 * expected.max())


def test_an_onnx_file_takes_batches_of_any_size(encoder_file: Path, tmp_path: Path) -> None:
    """One input and one output, whose names and types onnxruntime tells."""
    export.export(load_encoder(encoder_file), tmp_path / "e.onnx", side=48)
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    (images,), (features,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[1:]) == ("images", "tensor(float)", [3, 48, 48])
    assert (features.name, features.shape[1]) == ("features", 4 * (4 + 4 + 6 + 8))
    for count in (1, 7):
        (rows,) = session.run(None, {"images": np.zeros((count, 3, 48, 48), np.float32)})
        assert len(rows) == count


def test_a_pt2_file_needs_pytorch_alone(encoder_file: Path, tmp_path: Path) -> None:
    """Another process loads and runs it without this package."""
    loaded = load_encoder(encoder_file)
    export.export(loaded, tmp_path / "e.pt2", side=48)
    images = np.random.default_rng(1).random((2, 3, 48, 48), np.float32)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "features.npy", loaded.features(images))
    words = [str(tmp_path / name) for name in ("e.pt2", "images.npy", "features.npy")]
    done = subprocess.run([sys.executable, "-c", ALONE, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pixels_can_be_written_too(tmp_path: Path) -> None:
    """The encoder without weights gives the images themselves."""
    assert export.export(LoadedEncoder(Pixels()), tmp_path / "e.onnx", side=32) == 0


def test_a_file_that_answers_otherwise_is_not_kept(
    encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is run before it gets its name."""
    monkeypatch.setattr(export, "run_torch", lambda _: lambda images: np.zeros((len(images), 88), np.float32))
    with pytest.raises(UserError, match=r"e\.pt2 would answer otherwise than the encoder: .*; nothing is written$"):
        export.export(load_encoder(encoder_file), tmp_path / "e.pt2", side=48)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.safetensors"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it, and the format that needs none."""
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"needs onnx; run pip install 'exemplar\[onnx\]', or write a \.pt2 file"):
        export.formats(Path("e.onnx"))
