"""The library's public face: an encoder is used with few packages, and `import exemplar` costs nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from imports import ROOT
from PIL import Image

import exemplar

BLOCKED = ("dvc", "jinja2", "matplotlib", "mlflow", "pandas", "pydantic", "requests", "ruamel", "skimage", "sklearn",
           "typer", "urllib3")  # fmt: skip
PROGRAM = f"""
import sys
sys.modules.update(dict.fromkeys({BLOCKED}))  # None there makes an import fail
"""


def run(program: str, folder: Path) -> str:
    """What a program prints in a fresh process, in which the packages of the pipeline cannot be imported."""
    command = [sys.executable, "-c", PROGRAM + program]
    finished = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/package.md"])
def test_the_lines_of_the_first_page_use_an_encoder_without_dvc_and_mlflow(page: str, tmp_path: Path):
    """They run as they are printed: a picture gives one vector, by the encoder that comes with the package."""
    (lines,) = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    Image.effect_noise((90, 70), 64).save(tmp_path / "picture.jpg")
    assert run(f"{lines}\nprint(features.dtype, *features.shape)", tmp_path) == f"float32 {4 * (64 + 64 + 128)}\n"


def test_an_import_alone_brings_no_torch(tmp_path: Path):
    """A function is imported when it is asked for."""
    program = "import exemplar\nprint('torch' in sys.modules, exemplar.__version__, 'numpy' in sys.modules)"
    assert run(program, tmp_path) == f"False {exemplar.__version__} False\n"


def test_every_public_name_is_there_and_no_other():
    """An unknown one is told as Python tells it."""
    assert all(getattr(exemplar, name) for name in exemplar.__all__)
    with pytest.raises(AttributeError, match=r"^module 'exemplar' has no attribute 'nosuch'$"):
        _ = exemplar.nosuch
