"""The kernels for GPUs give what the plain versions give, as far as a CPU can tell: interpreted, and compiled."""

import json
import os
import subprocess
import sys
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


def test_squares_are_those_of_the_plain_version_to_the_bit(found: dict[str, Any]):
    """And so are those that are mirrored, of seeds that fill their windows; with any key, and of samples held out."""
    assert all(same and same_dice for same, same_dice, _ in found["squares"].values()), found["squares"]
    assert {leaves for *_, leaves in found["squares"].values()} == {True, False}


def test_a_set_renders_with_both_kernels(found: dict[str, Any]):
    """Both were compared with PyTorch's operations once, and neither has failed."""
    distance, *others = found["product"]
    assert distance < 3e-5
    assert others == [True, 2, 0]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for what is compiled."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


FLOATS, DOUBLES, BYTES, INTEGERS = "*fp32", "*fp64", "*u8", "*i64"
# What each kernel is given, in its order; texts are types.
SAMPLES = [FLOATS, BYTES, INTEGERS, FLOATS, FLOATS, INTEGERS, FLOATS, FLOATS, FLOATS, "i32", "i32", "i32", "i32"]
SQUARES = [DOUBLES, DOUBLES, INTEGERS, FLOATS, FLOATS, DOUBLES, "i64", "i32", "i32", 32, 1.25, 11]


def compiled(kernel: Any, arguments: list[Any], *, capability: int, warps: int) -> Any:
    """What Triton makes of a kernel for a card of this capability, which need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    named = dict(zip(kernel.arg_names, arguments, strict=True))
    signature = {name: each if isinstance(each, str) else "constexpr" for name, each in named.items()}
    constants = {name: each for name, each in named.items() if not isinstance(each, str)}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    options = {"num_warps": warps, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_a_gpu(capability: int):
    """For the cards of 2020 and 2022, to the last step; nothing of ours is rounded otherwise than it is written."""
    from exemplar.surrogate.kernels import samples, squares

    made = compiled(samples.sample_of_seed, SAMPLES, capability=capability, warps=samples.WARPS)
    others = compiled(squares.square_of_row, SQUARES, capability=capability, warps=1)
    assert made.asm["cubin"]
    assert others.asm["cubin"]
    for fused_or_rough in ("fma.rn.f32", "div.full", "div.approx", "lg2.approx", "sin.approx", "cos.approx"):
        assert fused_or_rough not in made.asm["ptx"], fused_or_rough
    assert "0d3F91DF46A2529D39" in others.asm["ptx"]  # a degree in radians, in float64
