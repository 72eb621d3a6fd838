"""A small encoder and some pictures, in files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder of three layers, saved."""
    import torch

    from exemplar.models.architecture import parse
    from exemplar.models.initial import draw_encoder
    from exemplar.models.saved import save_encoder

    path = tmp_path_factory.mktemp("encoders") / "small.safetensors"
    generator = torch.Generator().manual_seed(0)
    save_encoder(draw_encoder(parse("4c5-4c5-8f"), mean=torch.full((3, 32, 32), 0.4), generator=generator), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with five pictures of several sizes and kinds, one of them in a folder below."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in {"a.png": (50, 60), "b.png": (60, 50), "c.webp": (40, 40), "below/d.png": (90, 44)}.items():
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    Image.fromarray(random.integers(0, 256, (48, 48), np.uint8)).save(folder / "grey.png")
    return folder
