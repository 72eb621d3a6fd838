"""Some pictures in files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


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
