"""The kernels for GPUs give what the plain versions give, as far as a CPU can tell: interpreted, and compiled."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from imports import ROOT

pytestmark = pytest.mark.skipif(not find_spec("triton"), reason="this PyTorch has no Triton")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the program says."""
    finished = subprocess.run(
        [sys.executable, "tests/surrogate/kernels/interpreted.py"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}", "PATH": os.environ["PATH"], "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer


def test_samples_are_those_of_the_plain_version(found: dict[str, Any]):
    """Of both families, in windows of any size; largest differences are 3e-6 where PyTorch rounds as it did here."""
    for name, (largest, mean) in found["families"].items():
        assert largest < 3e-5, name
        assert mean < 2e-7, name


def test_what_leaves_a_window_is_mirrored_as_the_plain_version_does(found: dict[str, Any]):
    """Also what is mirrored several times; positions far away have fewer digits behind the point."""
    for name, (largest, mean) in found["beyond"].items():
        assert largest < 1e-4, name
        assert mean < 5e-7, name


def test_hard_colours_are_those_of_the_plain_version(found: dict[str, Any]):
    """Black, white, grey, flat and nearly flat windows; powers of 1/4 and 4; rows that change nothing."""
    for name, (largest, mean) in found["hard"].items():
        assert largest < 1e-4, name
        assert mean < 3e-6, name


def test_nothing_beside_a_window_is_read(found: dict[str, Any]):
    """Wherever a square lies and even where it is no square; the memory around the window here cannot be read."""
    assert found["extreme"]["finite"] >= 8
    assert found["extreme"]["wrong"] < 1e-6


def test_samples_depend_on_their_rows_alone_and_lie_as_the_network_wants_them(found: dict[str, Any]):
    """Channels last, the same bits again and in another batch, and an empty batch is one."""
    assert found["layout"] == [True] * 4


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for what is compiled."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return tmp_path


POINTERS = {
    "samples": "*fp32",
    "windows": "*u8",
    "window_index": "*i64",
    "centre": "*fp32",
    "side": "*fp32",
    "seeds": "*i64",
    "rows": "*fp32",
    "basis": "*fp32",
    "mean": "*fp32",
}
NUMBERS = dict.fromkeys(("across_basis", "along_basis", "height", "width"), "i32")


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_for_a_gpu(capability: int, cache: Path):
    """For the cards of 2020 and 2022, to the last step; no multiplication is fused with an addition of ours."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from exemplar.surrogate.kernels import samples

    source = ASTSource(fn=samples.sample_of_seed, signature=POINTERS | NUMBERS, constexprs={})
    options = {"num_warps": samples.WARPS, "enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.asm["cubin"]
    assert "fma.rn.f32" not in compiled.asm["ptx"]
    assert "div.full" not in compiled.asm["ptx"]
    assert "lg2.approx" not in compiled.asm["ptx"]
