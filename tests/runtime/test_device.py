"""Where the arithmetic happens, and what is asked for that is not there."""

import ctypes
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from exemplar.errors import UserError
from exemplar.runtime.cards import has_kernels
from exemplar.runtime.device import choose, enough_memory, free_memory, has_bfloat16_units

HAS_CUDA = torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody asks for a number of threads, and every test leaves it as it was."""
    monkeypatch.delenv("EXEMPLAR_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_auto_takes_cuda_where_there_is_one():
    """And the CPU elsewhere."""
    assert choose(device="auto", precision="float32").device.type == ("cuda" if HAS_CUDA else "cpu")
    assert choose(device="cpu", precision="float32").device.type == "cpu"


@pytest.mark.skipif(HAS_CUDA, reason="this machine has what the test wants to miss")
def test_a_device_that_is_not_there_is_a_users_mistake():
    """The line names the setting and what would work."""
    with pytest.raises(UserError, match=r"^compute.device is 'cuda', but PyTorch .* use 'auto' or 'cpu'$"):
        choose(device="cuda", precision="float32")


@pytest.mark.parametrize(
    ("capability", "built_for", "expected"),
    [
        ((8, 0), ["sm_80"], True),
        ((8, 9), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_75", "sm_80"], False),
        ((9, 0), ["sm_90a"], True),
        ((12, 1), ["sm_120"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f"], True),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((8, 6), ["compute_90"], False),
        ((10, 0), ["compute_90a"], False),
        ((9, 4), ["gfx942"], True),
        ((9, 0), [], True),
    ],
)
def test_a_card_needs_kernels_of_its_generation_or_what_the_driver_makes_them_from(
    capability: tuple[int, int], built_for: list[str], expected: bool
):
    """As NVIDIA describes cubins and PTX; a list of none of both says nothing."""
    assert has_kernels(capability, built_for) is expected


@pytest.fixture
def old_card(monkeypatch: pytest.MonkeyPatch):
    """What PyTorch says where the one card is older than all that it was built for."""
    said = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_arch_list": lambda: ["sm_75", "sm_90"],
        "get_device_capability": lambda _: (5, 2),
        "get_device_name": lambda _: "GeForce GTX 980",
    }
    for name, answer in said.items():
        monkeypatch.setattr(torch.cuda, name, answer)


NO_KERNELS = (
    r"can use no GPU here \(it has kernels for sm_75, sm_90, and none for the GeForce GTX 980, which is sm_52\)"
)


@pytest.mark.usefixtures("old_card")
def test_a_card_that_the_build_has_no_kernels_for_is_told(capsys: pytest.CaptureFixture[str]):
    """In one line, with its name; `auto` goes on with the CPU and says so."""
    with pytest.raises(UserError, match=rf"^compute.device is 'cuda', but PyTorch .*, {NO_KERNELS}; use 'auto' or"):
        choose(device="cuda", precision="float32")
    assert choose(device="auto", precision="float32").device.type == "cpu"
    assert re.fullmatch(rf"warning: PyTorch .*, {NO_KERNELS}; the CPU is used\n", capsys.readouterr().err)


@pytest.mark.skipif(HAS_CUDA, reason="this machine has what the test wants to miss")
def test_a_card_that_the_driver_knows_and_pytorch_cannot_use_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """With PyTorch's reason, such as a driver that is too old; the CPU does the work."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose(device="auto", precision="float32").device.type == "cpu"
    assert re.fullmatch(r"warning: PyTorch .* can use no GPU here \(.+\); the CPU is used\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_the_words_in_which_memory_is_out_are_known(said: str):
    """PyTorch has a kind of error for its own allocator on a GPU; libraries and the CPU's have words.

    cuDNN finds no engine for another reason too, so its words are told.
    """
    words = re.escape(f" ({said})") if "engine" in said else ""
    with pytest.raises(UserError, match=rf"^out of memory: lower it{words}$"), enough_memory("lower it"):
        raise RuntimeError(said)
    with pytest.raises(UserError, match=r"^out of memory: lower it$"), enough_memory("lower it"):
        raise torch.OutOfMemoryError
    with pytest.raises(RuntimeError, match="illegal memory access"), enough_memory("lower it"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("device", "precision"), [("tpu", "float32"), ("cuda:1", "float32"), ("cpu", "float16"), ("", "")]
)
def test_an_unknown_setting_is_quoted(device: str, precision: str):
    """Devices and precisions are few, and the line lists them."""
    with pytest.raises(UserError, match=f"^compute: '{device}', '{precision}' is unknown; expected one of"):
        choose(device=device, precision=precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products_run_in_the_precision_and_weights_stay_in_float32(precision: str):
    """Only what is computed inside the block changes its type."""
    compute = choose(device="cpu", precision=precision)
    layer = torch.nn.Linear(4, 4)
    with compute.autocast():
        product = layer(torch.ones(1, 4))
    assert product.dtype is getattr(torch, precision)
    assert layer.weight.dtype is torch.float32


def test_a_precision_is_named():
    """The machine does not choose it, because results differ; the line says whether bfloat16 gains here."""
    with pytest.raises(UserError, match=r"^compute.precision 'auto' .* name one of .* \(this machine .*bfloat16"):
        choose(device="cpu", precision="auto")


@pytest.mark.skipif(has_bfloat16_units(torch.device("cpu")), reason="this machine has what the test wants to miss")
def test_bfloat16_without_units_for_it_is_warned_of(capsys: pytest.CaptureFixture[str]):
    """In one line; the results are those that were asked for."""
    assert choose(device="cpu", precision="bfloat16").precision is torch.bfloat16
    assert capsys.readouterr().err == "warning: compute.precision is 'bfloat16'; this machine gains nothing from it\n"


def test_queue_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    """EXEMPLAR_THREADS is the number of threads of each worker."""
    monkeypatch.setenv("EXEMPLAR_THREADS", "1")
    choose(device="cpu", precision="float32")
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", " 1", "99999"])
def test_a_number_of_threads_that_is_none_is_quoted(monkeypatch: pytest.MonkeyPatch, threads: str):
    """A slip in the environment is told in one line."""
    monkeypatch.setenv("EXEMPLAR_THREADS", threads)
    with pytest.raises(UserError, match=f"^EXEMPLAR_THREADS is '{threads}'; expected a number"):
        choose(device="cpu", precision="float32")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has this setting")
def test_memory_that_a_step_frees_serves_the_next():
    """Once it has found its places, ten times 24 megabytes cost next to no page faults."""
    choose(device="cpu", precision="float32")
    faults = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.zeros(6_000_000)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < 10 * 24_000_000 / resource.getpagesize() / 10


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/job/step", {"job/memory.max": "9000", "job/memory.stat": "anon 1500\nfile 5000\nshmem 500"}, 7000),
        ("0::/job/step", {"job/memory.max": "max", "job/memory.stat": "anon 2000"}, None),
        ("4:memory:/box", {"memory/memory.limit_in_bytes": "900", "memory/memory.stat": "total_rss 1000"}, 0),
    ],
    ids=["version 2", "no limit", "version 1"],
)
def test_a_limit_of_a_container_or_a_job_bounds_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], expected: int | None
):
    """Of any group around the process; pages of files do not count, because the system can drop them."""
    for name, text in ({"own": own} | files).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr("exemplar.runtime.memory.CGROUPS", tmp_path)
    monkeypatch.setattr("exemplar.runtime.memory.OWN_CGROUPS", tmp_path / "own")
    free = free_memory(torch.device("cpu"))
    assert free == expected if expected is not None else free > 1 << 20
