"""`python -m benchmarks gpu [PART ...]` measures one GPU, into one JSON file that is written after every number.

Parts, in this order unless some are named:
  ceilings  copies of memory and products of matrices                                         (half a minute)
  equal     whether the card computes what the CPU computes, with the largest differences     (half a minute)
  rates     images a second of the paper's three networks: rendering, bare step, training,
            features; the SVMs' time                                                          (three minutes)
  cifar10   the medium network on CIFAR-10 for --minutes, then both protocols, beside the
            paper's 75.4 and 82.2 %; needs --cifar10                                          (--minutes and two more)
  pair      two processes on two GPUs against one; needs two GPUs                             (half a minute)
The times are estimates. Only the package's core dependencies are needed (pip install .), and no network. One row, the
compiled rendering, needs a C compiler. What cannot run is told in a line, and the others go on.
"""

import argparse
import gc
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from io import StringIO
from json import dumps
from pathlib import Path
from typing import Any

import torch

from benchmarks import table
from benchmarks.gpu import lean
from benchmarks.gpu.session import CPU, Row, Session, line
from benchmarks.measure import LackingError
from exemplar.errors import UserError, one_line
from exemplar.io.atomic import replacing
from exemplar.runtime import device
from exemplar.runtime.device import Compute

SHARED = "end what else takes memory there"  # where nothing that can be lowered takes much
PARTS = ("ceilings", "equal", "rates", "cifar10", "pair")


@dataclass
class Record:
    """The JSON file."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        """Replace the file by what is known now."""
        with replacing(self.path) as temporary:
            temporary.write_text(dumps(self.content, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Measure, print every row when it is there, write."""
    lean.allow_lack_of_pydantic()
    asked = read(arguments)
    try:
        session = begun(asked)
        record = Record(session.out, {"machine": machine(session), "asked": list(arguments), "parts": {}})
        record.write()
        print(f"{record.content['machine']}\nwritten into {session.out}", flush=True)
        for name in asked.parts or PARTS:
            measure(name, session, record)
    except UserError as error:
        sys.exit(f"error: {one_line(str(error))}")
    except OSError as error:
        sys.exit(f"error: the results cannot be written ({one_line(str(error))}); --out names another file")
    parts = record.content["parts"].values()
    sound = all(not part["failed"] and all(row.get("equal", True) for row in part["rows"]) for part in parts)
    sys.exit(not sound)


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; a wrong one ends the program with a line."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__, formatter_class=kind)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--cifar10", type=Path, metavar="ARCHIVE", help="CIFAR-10's Python version, as it is published")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training on CIFAR-10 (5)")
    parser.add_argument("--batch", type=int, default=1024, help="samples a step, beside the paper's 128 (1024)")
    parser.add_argument("--out", type=Path, help="the JSON file; gpu-<date>-<time>.json by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes on the CPU, to see that everything runs")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    if not 0 < asked.minutes < 600 or asked.batch < 2:
        parser.error("expected --minutes above 0 and below 600, and --batch of 2 or more")
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
    return Session(compute, asked.quick, asked.batch, asked.minutes, asked.cifar10, out)


def machine(session: Session) -> dict[str, Any]:
    """What no number means anything without."""
    found: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": device.summary(session.compute),
        "quick": session.quick,
        "torch": str(torch.__version__),
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


def measure(name: str, session: Session, record: Record) -> None:
    """All pieces of a part, timed; what keeps one of them from being measured is written, and the next follows."""
    part: dict[str, Any] = {"seconds": 0.0, "rows": [], "failed": []}
    record.content["parts"][name], started = part, time.perf_counter()
    print(f"{name}:", flush=True)

    def keep(row: Row | None = None) -> None:
        part["seconds"] = time.perf_counter() - started
        part["rows"] += [row] if row else []
        record.write()
        if row:
            print(f"  {line(row)}", flush=True)

    try:
        for piece, work in import_module(f"benchmarks.gpu.{name}").works(session):
            try:
                with redirect_stderr(StringIO()), device.enough_memory(f"{piece}; {SHARED}"):  # no progress is shown
                    for row in work():
                        keep(row)
            except Exception as error:  # a card that was never met may fail in any way
                part["failed"].append(failure(piece, error))
                print(f"  {piece}: failed: {part['failed'][-1]['error']}", flush=True)
            keep()
            gc.collect()  # a failure's frames hold the memory that was too little
    except LackingError as error:
        keep({"name": name, "skipped": str(error)})
    except Exception as error:  # nor may a piece that cannot begin end the others
        part["failed"].append(failure(name, error))
        print(f"  failed: {part['failed'][-1]['error']}", flush=True)
    keep()


def failure(piece: str, error: Exception) -> dict[str, str]:
    """What a failure was, in one line; where it is not the user's, with all that helps to find it from afar."""
    known = isinstance(error, UserError | LackingError)
    told = {"piece": piece, "error": one_line(str(error) if known else f"{type(error).__name__}: {error}")}
    return told if known else told | {"traceback": "".join(traceback.format_exception(error))}
