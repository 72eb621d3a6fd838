"""The dataset that docs/extending.md works through is one: its code is run as it stands there."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from exemplar.datasets.base import Labeled, load_images

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def discs() -> ModuleType:
    """The file of the document."""
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "Discs" in block]
    module = ModuleType("discs")
    exec(code, module.__dict__)  # our own document
    return module


def test_the_documents_dataset_is_whole(discs: ModuleType, tmp_path: Path) -> None:
    """Unlabeled pictures, two folds that are tested on other pictures, and kinds that the light of the middle tells."""
    discs.write_unlabeled(None, tmp_path)
    assert load_images(tmp_path).shape == (200, 3, 64, 64)
    discs.write_labeled(None, tmp_path)
    labeled = Labeled.load(tmp_path)
    assert labeled.train.shape == (2, 20)
    assert not np.intersect1d(labeled.train, labeled.test).size
    assert ((labeled.images[:, 0, 32, 32] > 128) == labeled.labels).all()
    assert labeled.classes == ("dark", "bright")
