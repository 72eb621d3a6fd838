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
import torch
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
    for name, (largest, mean, _) in found["families"].items():
        assert largest < 3e-5, name
        assert mean < 2e-7, name


def test_what_leaves_a_window_is_mirrored_as_the_plain_version_does(found: dict[str, Any]):
    """Also what is mirrored several times; positions far away have fewer digits behind the point."""
    for name, (largest, mean, _) in found["beyond"].items():
        assert largest < 1e-4, name
        assert mean < 5e-7, name


def test_hard_colours_are_those_of_the_plain_version(found: dict[str, Any]):
    """Black, white, grey, flat and nearly flat windows; powers of 1/4 and 4; rows that change nothing."""
    for name, (largest, mean, _) in found["hard"].items():
        assert largest < 1e-4, name
        assert mean < 3e-6, name


def test_nothing_beside_a_window_is_read(found: dict[str, Any]):
    """Wherever a square lies and even where it is no square; the memory around the window here cannot be read."""
    assert found["extreme"]["finite"] >= 6
    assert found["extreme"]["wrong"] < 1e-6


def test_samples_depend_on_their_rows_alone_and_lie_as_the_network_wants_them(found: dict[str, Any]):
    """Channels last, the same bits again and in another batch, and an empty batch is one."""
    assert found["layout"] == [True] * 4


def test_squares_are_those_of_the_plain_version_to_the_bit(found: dict[str, Any]):
    """And so are those that are mirrored, of seeds that fill their windows; with any key, and of samples held out."""
    assert all(same and same_dice for same, same_dice, _ in found["squares"].values()), found["squares"]
    assert {leaves for *_, leaves in found["squares"].values()} == {True, False}


def test_what_kernels_are_tried_on_leaves_room_for_a_gpus_rounding(found: dict[str, Any]):
    """A GPU's sines and powers may round otherwise; 1e-4 is allowed."""
    assert found["tried"]["exemplar.surrogate.draws"] == 0
    assert found["tried"]["exemplar.surrogate.sets"] < 1e-5


def test_a_set_renders_with_both_kernels(found: dict[str, Any]):
    """Both were tried once, and neither has failed."""
    distance, *others = found["product"]
    assert distance < 3e-5
    assert others == [True, 2, 0]


class Card:
    """A GPU that is not there, of which Triton asks what to compile for."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


class There:
    """A tensor on that GPU: numbers of a type, at an address."""

    def __init__(self, dtype: torch.dtype, address: int) -> None:
        self.dtype, self.address = dtype, address

    def data_ptr(self) -> int:
        return self.address


@pytest.fixture(params=[80, 90])
def card(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of 2020 and of 2022."""
    pytest.importorskip("triton.backends.nvidia")
    from triton.runtime import driver

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    before = dict(vars(driver))
    driver.set_active(Card(request.param))
    yield
    vars(driver).clear()
    vars(driver).update(before)


def compiled(kernel: Any, types: list[torch.dtype], numbers: list[int], address: int, **options: object) -> Any:
    """What Triton makes of a kernel for arguments like these."""
    tensors = [There(dtype, address) for dtype in types]
    return kernel.warmup(*tensors, *numbers, grid=(1,), enable_fp_fusion=False, **options)


F32, F64, I64 = torch.float32, torch.float64, torch.int64


@pytest.mark.usefixtures("card")
def test_the_kernel_of_samples_compiles_for_a_gpu():
    """To the last step, and once for all sizes and addresses; nothing is rounded in another way than it is written.

    A thread has 4 pixels, of 3 channels, to each of which 3 neighbours are added in one rounding, as grid_sample does.
    """
    from exemplar.surrogate.kernels import samples

    types = [F32, torch.uint8, I64, F32, F32, I64, F32, F32, F32]
    made, again = (
        compiled(samples.sample_of_seed, types, numbers, address, num_warps=samples.WARPS)
        for numbers, address in (([3, 1, 96, 96], 512), ([1, 3, 1, 33], 520))
    )
    assert made.asm["cubin"]
    assert made.hash == again.hash
    assert made.asm["ptx"].count("fma.rn.f32") == 4 * 3 * 3
    for rough in ("div.full", "div.approx", "lg2.approx", "sin.approx", "cos.approx"):
        assert rough not in made.asm["ptx"], rough


@pytest.mark.usefixtures("card")
def test_the_kernel_of_squares_compiles_for_a_gpu():
    """In float64, constants among them."""
    from exemplar.surrogate.kernels import squares

    types, constants = [F64, F64, I64, F32, F32, F64], {"attempts": 32, "context": 1.25, "colours": 11}
    made, again = (
        compiled(squares.square_of_row, types, numbers, address, num_warps=1, **constants)
        for numbers, address in (([5, 96, 96], 512), ([2**62, 1, 33], 520))
    )
    assert made.asm["cubin"]
    assert made.hash == again.hash
    assert "0d3F91DF46A2529D39" in made.asm["ptx"]  # a degree in radians
