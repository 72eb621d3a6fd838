"""The task that docs/extending.md works through is a task: its code is run as it stands there."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small import begun

from exemplar.models.network import Encoder
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import SurrogateSet

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
NAME = "exemplar.methods.closer"


@pytest.fixture
def closer(monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of the document, importable under its name."""
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "Closer" in block]
    module = ModuleType(NAME)
    exec(code, module.__dict__)  # our own document
    monkeypatch.setitem(sys.modules, NAME, module)
    return code


def test_the_documents_task_learns(closer: str, surrogate_set: SurrogateSet, compute: Compute) -> None:
    """Two epochs of finite numbers, and an encoder that describes images."""
    fitting = begun("closer", surrogate_set, compute, options={})
    first, second = fitting.epochs
    assert (first.chance, second.epoch) == (0.5, 2)
    assert first.encoder_passes == len(surrogate_set)
    assert fitting.examples() == []  # none are asked for
    encoder = fitting.finish()
    assert isinstance(encoder, Encoder)
    assert torch.isfinite(encoder.extract_features(torch.rand(1, 3, 48, 48), (1,))[0]).all()


def test_the_documents_task_is_short(closer: str) -> None:
    """About 40 lines of code besides its imports."""
    lines = [line for line in closer.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= 45
