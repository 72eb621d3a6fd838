"""The kernels for GPUs in Triton's interpreter, beside the plain versions; prints how far their values are apart.

Triton reads TRITON_INTERPRET when it is imported, so this is a program of its own. The interpreter runs every operation
of a kernel by NumPy, on the tensors of a CPU. A number in the command replaces that of the samples of each family.
"""

import ctypes
import json
import mmap
import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks import material
from exemplar.surrogate import draws, fused, sets, trial
from exemplar.surrogate.draws import HELD_OUT, Draws
from exemplar.surrogate.ranges import FAMILIES
from exemplar.surrogate.sets import SurrogateSet
from exemplar.surrogate.transformation import COLUMNS, inside, neutral_rows

COUNT = 4  # samples of each kind
OF_FAMILIES = int(sys.argv[1]) if sys.argv[1:] else COUNT
SIZES = ((96, 96), (64, 64), (36, 50), (40, 32))  # height and width of windows
PAGE = mmap.PAGESIZE


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_set(windows: Tensor, family: str = "release") -> SurrogateSet:
    """Seeds somewhere around the middle of each window, and axes of colour that are no channels."""
    count, _, height, width = windows.shape
    return SurrogateSet(
        windows=windows,
        window_index=torch.arange(count).flip(0),
        label=torch.arange(count),
        centre=torch.tensor([width / 2, height / 2]) + torch.rand(count, 2, generator=dice(1)) * 4 - 2,
        side=torch.linspace(20, 0.7 * min(height, width), count),
        basis=torch.linalg.qr(torch.randn(3, 3, generator=dice(2)))[0].T,
        colour_mean=torch.tensor([0.45, 0.5, 0.4]),
        draws=Draws(5, 1, FAMILIES[family]),
    )


def photographs(height: int = 64, width: int = 64, count: int = COUNT) -> Tensor:
    return torch.from_numpy(material.draw_images(count, random_seed=0))[:, :, :height, :width].contiguous()


def apart(data: SurrogateSet, rows: Tensor) -> list[float]:
    """The largest difference of the samples, the mean one, and the share of those above 2e-6; NaN where any is."""
    seeds = torch.arange(len(rows)) % len(data.label)
    distance = (data.transform_fused(seeds, rows) - data.transform_plainly(seeds, rows)).abs()
    return [float(distance.max()), float(distance.mean()), float((distance > 2e-6).double().mean())]


def drawn(data: SurrogateSet) -> Tensor:
    return data.rows(torch.arange(len(data)))


def changed(rows: Tensor, **columns: float | list[float]) -> Tensor:
    """The rows with other numbers in some columns."""
    rows = rows.clone()
    for name, numbers in columns.items():
        rows[:, COLUMNS.index(name)] = torch.as_tensor(numbers)
    return rows


def families() -> dict[str, list[float]]:
    """Rows of both, in windows of several sizes."""
    found = {}
    for family in FAMILIES:
        for height, width in SIZES:
            data = a_set(photographs(height, width, OF_FAMILIES), family)
            found[f"{family}, {height} x {width}"] = apart(data, drawn(data))
    return found


def beyond() -> dict[str, list[float]]:
    """Squares that leave their windows by a little, by far, and so far that they are mirrored again and again."""
    data = a_set(photographs(36, 50))
    rows = changed(drawn(data), shift_x_fraction=[2.0, -2.0, 0.5, 1.0], shift_y_fraction=[-1.0, 2.0, -0.5, 0.3])
    scales = {"zoomed": 1.4, "wide": 0.5, "far": 0.12}
    return {f"mirrored, {name}": apart(data, changed(rows, scale_factor=scale)) for name, scale in scales.items()}


def hard() -> dict[str, list[float]]:
    """What colour chains stumble over: no colour, no light, no range, and rows that change nothing or much."""
    shape, found = (COUNT, 3, 40, 40), {}
    grey = torch.randint(0, 256, (COUNT, 1, 40, 40), generator=dice(), dtype=torch.uint8).expand(shape).contiguous()
    flat = torch.randint(0, 255, (COUNT, 3, 1, 1), generator=dice(), dtype=torch.uint8).expand(shape).contiguous()
    kinds = {
        "black": torch.zeros(shape, dtype=torch.uint8),
        "white": torch.full(shape, 255, dtype=torch.uint8),
        "grey": grey,
        "flat": flat,
        "one level": flat + torch.randint(0, 2, shape, generator=dice(3), dtype=torch.uint8),
    }
    for name, windows in kinds.items():
        data = a_set(windows)
        found[name] = apart(data, trial.calm(drawn(data)))
    data = a_set(photographs())
    found["nothing changes"] = apart(data, neutral_rows(COUNT))
    for power in (0.25, 4.0):
        rows = changed(drawn(data), saturation_power=power, value_power=power)
        found[f"powers of {power:g}"] = apart(data, rows)
    return found


def guarded() -> Tensor:
    """A window between two pages of memory that may not be read: to touch them ends the process."""
    pages = 3 * 64 * (PAGE // 64) // PAGE
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages + 1):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + page * PAGE), ctypes.c_size_t(PAGE), 0) == 0
    colours = torch.tensor([10, 20, 30], dtype=torch.uint8)
    window = torch.frombuffer(memory, dtype=torch.uint8, offset=PAGE, count=pages * PAGE).view(1, 3, 64, -1)
    return window.copy_(colours[:, None, None])


def extreme() -> dict[str, object]:
    """Squares of any size anywhere show the window's own colours; numbers that are none read nothing else."""
    data, numbers = a_set(guarded()), [0.0, 1.0, -1e3, 1e30, float("inf"), float("nan")]
    rows = neutral_rows(len(numbers) + 4)
    rows[: len(numbers), 0] = rows[: len(numbers), 3] = torch.tensor(numbers)
    rows[len(numbers) :, 2] = torch.tensor([1e-9, 1e9, 0.0, -1.0])
    samples = data.transform_fused(torch.zeros(len(rows), dtype=torch.int64), rows)
    finite = samples[samples.isfinite().flatten(1).all(1)]
    wrong = (finite - torch.tensor([10, 20, 30])[:, None, None] / 255).abs().max()
    return {"finite": len(finite), "wrong": float(wrong)}


def layout() -> list[bool]:
    """Of a batch that is asked for twice: channels last, the same bits, and each sample whatever its batch."""
    data = a_set(photographs(count=3))
    rows, seeds = drawn(data), torch.tensor([0, 1, 2])
    once, again = (data.transform_fused(seeds, rows) for _ in range(2))
    alone = data.transform_fused(seeds[2:], rows[2:])
    none = data.transform_fused(seeds[:0], rows[:0])
    return [
        once.is_contiguous(memory_format=torch.channels_last),
        torch.equal(once, again),
        torch.equal(once[2:], alone),
        none.shape == (0, 3, 32, 32),
    ]


def squares() -> dict[str, list[bool]]:
    """Whether squares and numbers behind colours are the same to the bit, with and without room for all squares."""
    found, count = {}, 6
    for family in FAMILIES:
        for size in ((96, 96), (70, 50), (40, 36)):  # width and height
            for drawing in (Draws(5, 100, FAMILIES[family]), Draws(2**62 + 1, 1, FAMILIES[family], first=HELD_OUT)):
                seeds, samples = torch.randint(0, 10**6, (2, count), generator=dice())
                where = {
                    "centre": torch.tensor(size) * (0.4 + 0.2 * torch.rand(count, 2, generator=dice(1))),
                    "side": torch.linspace(20, 62, count),
                    "size": size,
                }
                ours, theirs = (draw(seeds, samples, **where) for draw in (drawing.squares_fused, drawing.squares))
                leaves = ~inside(theirs[0], **{name: where[name] for name in ("centre", "side", "size")})
                same = [torch.equal(*both) for both in zip(ours, theirs, strict=True)]
                found[f"{family}, {size}, key {drawing.key}"] = [*same, bool(leaves.any())]
    return found


def tried() -> dict[str, float]:
    """How far off the two kernels are on what they are tried on before they are used."""
    there = torch.device("cpu")
    return {module.__name__: float(module.apart(there).abs().max()) for module in (draws, sets)}


def product() -> list[object]:
    """The set's own way from indices to samples, where a CPU may have kernels: how far off, and what has failed."""
    data = a_set(photographs())
    plain, _ = data.render(torch.arange(len(data)))
    fused.DEVICES = ("cpu",)
    samples, _ = data.render(torch.arange(len(data)))
    is_fused = samples.is_contiguous(memory_format=torch.channels_last)
    return [float((samples - plain).abs().max()), is_fused, len(fused.checked), len(fused.failed)]


def main() -> None:
    np.seterr(all="ignore")  # a logarithm of 0
    torch.set_num_threads(1)
    kinds: dict[str, Callable[[], object]] = {
        "families": families,
        "beyond": beyond,
        "hard": hard,
        "extreme": extreme,
        "layout": layout,
        "squares": squares,
        "tried": tried,
        "product": product,
    }
    json.dump({name: measure() for name, measure in kinds.items()}, sys.stdout)


if __name__ == "__main__":
    main()
