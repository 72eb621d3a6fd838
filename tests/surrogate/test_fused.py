"""A kernel that fails costs one line: PyTorch's operations make the samples, as on a device that has no kernels."""

import re
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from exemplar.surrogate import fused
from exemplar.surrogate.draws import Draws
from exemplar.surrogate.sets import SurrogateSet
from exemplar.surrogate.transformation import COLUMNS

CPU = torch.device("cpu")
SQUARES_FUSED = Draws.squares_fused


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CPU may have kernels, of which nothing is known yet; that of squares is its plain version."""
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    monkeypatch.setattr(Draws, "squares_fused", Draws.squares)
    yield
    fused.checked.clear()
    fused.failed.clear()


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
    "its values differ by 0.001": plain_but(lambda samples: samples + 1e-3),
    "its values differ by nan": plain_but(first_wrong(float("nan"))),
}


@pytest.mark.parametrize("reason", KERNELS)
def test_a_kernel_that_fails_costs_one_line(
    reason: str, surrogate_set: SurrogateSet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It fails, differs or gives no numbers: the samples are the plain ones, in every batch."""
    indices = torch.arange(0, len(surrogate_set), 7)
    expected = surrogate_set.transform_plainly(indices // surrogate_set.draws.samples, surrogate_set.rows(indices))
    monkeypatch.setattr(SurrogateSet, "transform_fused", KERNELS[reason])
    for _ in range(2):
        assert torch.equal(surrogate_set.render(indices)[0], expected)
    line = f"warning: PyTorch's operations render on cpu, slower, as the kernel of samples fails ({reason})\n"
    assert capsys.readouterr().err == line


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

    def apart() -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        fused.works("samples", CPU, apart)
    assert not fused.checked


def test_calm_rows_are_compared(surrogate_set: SurrogateSet):
    """Nothing of them is steep, and what is not steep stays as it is."""
    rows = surrogate_set.rows(torch.arange(len(surrogate_set)))
    calm = dict(zip(COLUMNS, fused.calm(rows).T, strict=True))
    for name, before in zip(COLUMNS, rows.T, strict=True):
        low, high = {"power": (1, 9), "offset": (-9, 0)}.get(name.split("_")[1], (-999, 999))
        low, high = (0, 1) if name.startswith("pca") else (-1, 1) if name.startswith("hue") else (low, high)
        assert torch.equal(calm[name], before.clamp(low, high)), name
