"""A kernel that fails costs one line: PyTorch's operations make the samples, as on a device that has no kernels."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from exemplar.errors import UserError
from exemplar.surrogate import fused, sets, trial
from exemplar.surrogate.draws import Draws, inside
from exemplar.surrogate.sets import SurrogateSet
from exemplar.surrogate.transformation import COLUMNS

CPU = torch.device("cpu")
SQUARES_FUSED = Draws.squares_fused


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CPU may have kernels, of which nothing is known yet; that of squares is its plain version."""
    monkeypatch.delenv(fused.SWITCH, raising=False)
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    monkeypatch.setattr(Draws, "squares_fused", Draws.squares)
    yield
    fused.checked.clear()
    fused.failed.clear()


def without_headers(*_: object) -> Tensor:
    """As where a C compiler finds no Python.h, and says so itself."""
    says = (
        "import sys; sys.exit('In file included\\nmain.c:9:10: fatal error: Python.h: No such file\\n  9 | #include')"
    )
    subprocess.check_call([sys.executable, "-c", says])
    return torch.zeros(1)


def broken(*_: object) -> Tensor:
    raise RuntimeError("Failed to find C compiler.\nPlease specify one.")


def plain_but(change: Callable[[Tensor], Tensor]) -> Callable[[SurrogateSet, Tensor, Tensor], Tensor]:
    """A kernel that gives the plain samples, and then changes them."""
    return lambda data, seed, rows: change(data.transform_plainly(seed, rows).clone())


def first_wrong(value: float) -> Callable[[Tensor], Tensor]:
    """All is right but the very first number."""
    return lambda samples: samples.index_fill_(0, torch.tensor([0]), value)


KERNELS = {
    "RuntimeError: Failed to find C compiler. Please specify one.": broken,
    "CalledProcessError: main.c:9:10: fatal error: Python.h: No such file": without_headers,
    "its values differ by 0.001": plain_but(lambda samples: samples + 1e-3),
    "its values differ by nan": plain_but(first_wrong(float("nan"))),
}


@pytest.mark.parametrize("reason", KERNELS)
def test_a_kernel_that_fails_costs_one_line(
    reason: str, surrogate_set: SurrogateSet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """It fails, differs or gives no numbers: the samples are the plain ones, in every batch."""
    indices = torch.arange(0, len(surrogate_set), 7)
    expected = surrogate_set.transform_plainly(indices // surrogate_set.draws.samples, surrogate_set.rows(indices))
    monkeypatch.setattr(SurrogateSet, "transform_fused", KERNELS[reason])
    for _ in range(2):
        assert torch.equal(surrogate_set.render(indices)[0], expected)
    line = f"warning: PyTorch's operations render on cpu, slower, as the kernel of samples fails ({reason})\n"
    assert capfd.readouterr().err == line


@pytest.mark.parametrize("lacks_triton", [False, True])
def test_without_triton_or_its_driver_the_plain_versions_do_the_work(
    lacks_triton: bool,
    surrogate_set: SurrogateSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Of squares and of samples, with one line for both; a Mac has no Triton, and tensors of a CPU no driver."""
    if lacks_triton:
        monkeypatch.setitem(sys.modules, "triton", None)
        for name in ("samples", "squares"):
            monkeypatch.delitem(sys.modules, f"exemplar.surrogate.kernels.{name}", raising=False)
    indices = torch.arange(0, len(surrogate_set), 7)
    monkeypatch.setattr(Draws, "squares_fused", SQUARES_FUSED)
    expected = surrogate_set.transform_plainly(indices // surrogate_set.draws.samples, surrogate_set.rows(indices))
    assert torch.equal(surrogate_set.render(indices)[0], expected)
    assert re.fullmatch(r"warning: .*, as the kernel of squares fails \(\w+: .*\)\n", capsys.readouterr().err)


def test_a_kernel_that_works_is_asked_once(
    surrogate_set: SurrogateSet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """From then on it alone makes the samples, without a word."""
    monkeypatch.setattr(SurrogateSet, "transform_fused", plain_but(lambda samples: samples + 1e-5))
    surrogate_set.render(torch.arange(3))
    monkeypatch.setattr(SurrogateSet, "transform_plainly", broken)
    monkeypatch.setattr(SurrogateSet, "transform_fused", lambda _, seed, *__: torch.zeros(len(seed), 3, 32, 32))
    assert not surrogate_set.render(torch.arange(3))[0].any()
    assert capsys.readouterr().err == ""


def test_lack_of_memory_is_no_fault_of_a_kernel():
    """Whoever asked for the samples says what to lower, and the next batch is compared."""

    def apart(_: torch.device) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        fused.works("samples", CPU, apart)
    assert not fused.checked


def test_the_data_have_no_say_in_it(surrogate_set: SurrogateSet, monkeypatch: pytest.MonkeyPatch):
    """No batch is compared: the same kernels render in every process, whatever it renders first."""

    def wrong_for_the_data(data: SurrogateSet, seed: Tensor, rows: Tensor) -> Tensor:
        return data.transform_plainly(seed, rows) * (data is not surrogate_set)

    monkeypatch.setattr(SurrogateSet, "transform_fused", wrong_for_the_data)
    assert not surrogate_set.render(torch.arange(3))[0].any()
    assert not fused.failed


def test_a_device_that_does_nothing_after_a_fault_ends_with_one_line(
    surrogate_set: SurrogateSet, monkeypatch: pytest.MonkeyPatch
):
    """PyTorch's operations would be refused as well; the line says what to type."""

    def refused(_: torch.device) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be")

    monkeypatch.setattr(fused, "one_operation", refused)
    monkeypatch.setattr(SurrogateSet, "transform_fused", broken)
    with pytest.raises(UserError, match=r"^cpu does no work any more \(CUDA .* run it again with EXEMPLAR_KERNELS=0$"):
        surrogate_set.render(torch.arange(3))


def test_kernels_are_switched_off(surrogate_set: SurrogateSet, monkeypatch: pytest.MonkeyPatch):
    """Then none is tried, and 1 or nothing leaves them on; what else may be meant is not guessed."""
    monkeypatch.setattr(SurrogateSet, "transform_fused", lambda _, seed, *__: torch.zeros(len(seed), 3, 32, 32))
    monkeypatch.setattr(sets, "apart", lambda _: torch.zeros(1))
    for value, is_fused in (("0", False), ("1", True), ("", True)):
        monkeypatch.setenv(fused.SWITCH, value)
        assert (not surrogate_set.render(torch.arange(3))[0].any()) == is_fused
    monkeypatch.setenv(fused.SWITCH, "off")
    with pytest.raises(UserError, match=r"^EXEMPLAR_KERNELS is 'off'; expected 1, .* or 0$"):
        surrogate_set.render(torch.arange(3))


def is_tf32_off() -> bool:
    """PyTorch 2.9 brought another name."""
    matmul = torch.backends.cuda.matmul
    return matmul.fp32_precision == "ieee" if hasattr(matmul, "fp32_precision") else not matmul.allow_tf32


def test_kernels_are_tried_in_plain_float32():
    """Whatever a training or another library set; after it that is set again."""
    seen, matmul = [], torch.backends.cuda.matmul

    def apart(_: torch.device) -> Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), is_tf32_off()))
        return torch.zeros(1)

    before, matmul.allow_tf32 = matmul.allow_tf32, True
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert fused.works("samples", CPU, apart)
            assert torch.is_autocast_enabled("cpu")
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before
    assert seen == [(False, True)]


def test_what_others_say_meanwhile_is_said(capfd: pytest.CaptureFixture[str]):
    """Other threads write on stderr too."""

    def apart(_: torch.device) -> Tensor:
        os.write(2, b"warning: another line\n")
        return torch.zeros(1)

    assert fused.works("samples", CPU, apart)
    assert capfd.readouterr().err == "warning: another line\n"


def test_what_kernels_are_tried_on_is_the_same_everywhere_and_has_all_kinds():
    """Squares that leave their windows and squares that do not, and samples with contrast in every channel."""
    (data, seed, rows), (again, _, same) = sets.tried(), sets.tried()
    assert torch.equal(rows, same)
    assert torch.equal(data.windows, again.windows)
    there = inside(rows, centre=data.centre[seed], side=data.side[seed], size=data.size)
    assert 0.1 < there.float().mean() < 0.9
    samples = data.transform_plainly(seed, rows).flatten(1)
    assert float((samples.amax(1) - samples.amin(1)).min()) > 0.5


@pytest.mark.parametrize("column", range(len(COLUMNS)), ids=COLUMNS)
def test_a_kernel_that_takes_a_column_wrongly_is_noticed(column: int, monkeypatch: pytest.MonkeyPatch):
    """By a hundredth: calm rows still have numbers in every column that show in the samples."""

    def wrong(data: SurrogateSet, seed: Tensor, rows: Tensor) -> Tensor:
        rows = rows.clone()
        rows[:, column] *= 0.99
        return data.transform_plainly(seed, rows)

    monkeypatch.setattr(SurrogateSet, "transform_fused", wrong)
    assert not fused.works("samples", CPU, sets.apart)


def test_rows_are_made_calm(surrogate_set: SurrogateSet):
    """Nothing of them is steep, and what is not steep stays as it is."""
    rows = surrogate_set.rows(torch.arange(len(surrogate_set)))
    calm = dict(zip(COLUMNS, trial.calm(rows).T, strict=True))
    for name, before in zip(COLUMNS, rows.T, strict=True):
        low, high = {"power": (1, 9), "offset": (-9, 0)}.get(name.split("_")[1], (-999, 999))
        low, high = (0, 1) if name.startswith("pca") else (-1, 1) if name.startswith("hue") else (low, high)
        assert torch.equal(calm[name], before.clamp(low, high)), name
