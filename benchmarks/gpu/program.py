"""`python -m benchmarks gpu [PART ...]` measures one GPU, into one JSON file that is written after every number.

Parts, in this order unless some are named:
  ceilings  copies of memory and products of matrices                                         (quarter of a minute)
  equal     whether the card computes what the CPU computes, with the largest differences     (half a minute)
  rates     images a second of the paper's three networks: rendering, bare step, training,
            features; what many classes cost; the SVMs' time                                  (four minutes)
  cifar10   the medium network on CIFAR-10 for --minutes, then both protocols, beside the
            paper's 75.4 and 82.2 %; needs --cifar10                                          (--minutes and three more)
  pair      two processes on two GPUs against one; needs two GPUs                             (half a minute)
  captured  steps captured as CUDA graphs: whether they are steps, and trainings with them and
            without, each in a process of its own                                             (three minutes)
The times are estimates. Nothing begins after --seconds, what runs then is interrupted, and both are listed. In two runs
of ten minutes each: `ceilings equal rates captured --seconds 570`, then `cifar10 pair --seconds 570`.
Only the package's core dependencies are needed (pip install .), and no network. The kernels that render need a C
compiler. What cannot run is told in a line, and the others go on. EXEMPLAR_CUDA_GRAPH is written down and changes
nothing: only the part `captured` captures steps.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks import table
from benchmarks.gpu.alone import SECONDS_TO_END
from benchmarks.gpu.bounds import ended_after
from benchmarks.gpu.record import Part, Record
from benchmarks.gpu.session import CPU, Session, Works
from exemplar.errors import UserError, one_line
from exemplar.runtime import device
from exemplar.runtime.device import Compute

PARTS = ("ceilings", "equal", "rates", "cifar10", "pair", "captured")
QUICK_BATCH = 16


def main(arguments: Sequence[str]) -> None:
    """Measure, print every row when it is there, write."""
    allow_lack_of_pydantic()
    asked = read(arguments)
    switch = without_switch()
    try:
        session = begun(asked)
        found = machine(session) | switch
        record = Record(session.out, {"machine": found, "card": card(session), "asked": list(arguments)})
        record.content["parts"] = {}
        record.write()
        print(f"{record.content['machine']}\nwritten into {session.out}", flush=True)
        with ended_after(session.left + SECONDS_TO_END):
            for name in asked.parts or PARTS:
                Part(name, session, record).measure(works(name, session))
    except UserError as error:
        sys.exit(f"error: {one_line(str(error))}")
    except OSError as error:
        sys.exit(f"error: the results cannot be written ({one_line(str(error))}); --out names another file")
    parts = record.content["parts"].values()
    sound = all(not part["failed"] and all(row.get("equal", True) for row in part["rows"]) for part in parts)
    sys.exit(not sound)


def allow_lack_of_pydantic() -> None:
    """Let this process, and those that it starts, find a stand-in where pydantic is not installed."""
    sys.path.append(str(Path(__file__).parent / "stand_in"))


def without_switch() -> dict[str, str | None]:
    """The variable that asks for captured steps, with what it was; it is gone for this process and all that it starts.

    Rows without a capture would be captured too.
    """
    name = import_module("exemplar.training.captured").SWITCH  # needs pydantic or its stand-in
    return {name: os.environ.pop(name, None)}


def works(name: str, session: Session) -> Works:
    """The pieces of a part, whose module is imported with the first of them."""
    yield from import_module(f"benchmarks.gpu.{name}").works(session)


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; a wrong one ends the program with a line."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__, formatter_class=kind)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--cifar10", type=Path, metavar="ARCHIVE", help="CIFAR-10's Python version, as it is published")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training on CIFAR-10 (5)")
    parser.add_argument("--seconds", type=float, default=870.0, help="of the whole run, at most (870)")
    parser.add_argument("--batch", type=int, default=1024, help="samples a step, beside the paper's 128 (1024)")
    parser.add_argument("--out", type=Path, help="the JSON file; gpu-<date>-<time>.json by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes on the CPU, to see that everything runs")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    if not 0 < asked.minutes < 600 or not 0 < asked.seconds < 1e5 or asked.batch < 2:
        parser.error("expected --minutes above 0 and below 600, --seconds above 0, and --batch of 2 or more")
    if asked.cifar10 and not asked.cifar10.exists():
        parser.error(f"--cifar10: there is no {asked.cifar10}")
    return asked


def begun(asked: argparse.Namespace) -> Session:
    """The device and the options. Raises UserError where there is no card and no quick look was asked for."""
    out = asked.out or Path(f"gpu-{datetime.now():%Y%m%d-%H%M%S}.json")
    if asked.quick:
        device.cap_threads()
        compute = CPU
    else:
        if reason := device.lack_of_cuda():
            raise UserError(f"{reason}; --quick runs on the CPU")
        compute = device.choose(device="cuda", precision="float32")
        if device.has_bfloat16_units(compute.device):
            compute = Compute(compute.device, torch.bfloat16)
    batch = QUICK_BATCH if asked.quick else asked.batch
    return Session(compute, asked.quick, batch, asked.minutes, asked.seconds, asked.cifar10, out)


def machine(session: Session) -> dict[str, Any]:
    """What no number means anything without."""
    found: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": device.summary(session.compute),
        "quick": session.quick,
        "torch": str(torch.__version__),
        "triton": version("triton"),
        "python": platform.python_version(),
        "processor": table.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if session.on_cuda:
        card = torch.cuda.get_device_properties(session.device)
        found |= {
            "GPUs": torch.cuda.device_count(),
            "memory_GB": card.total_memory / 1e9,
            "multiprocessors": card.multi_processor_count,
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # no types
        }
    return found


def version(package: str) -> str | None:
    """Which is installed, if any."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def card(session: Session) -> str:
    """What the device is called, which stands beside every number."""
    return torch.cuda.get_device_name(session.device) if session.on_cuda else table.processor()
