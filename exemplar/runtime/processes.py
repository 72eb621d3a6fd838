"""How the processes of one training start and end together, whether the stage or `torchrun` started them.

Process 0 leads: it alone has a run in MLflow, a checkpoint and files. What they must agree on before and after the
arithmetic goes through the small store that PyTorch keeps for them.
"""

import ctypes
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from exemplar.errors import UserError, say
from exemplar.runtime import machine
from exemplar.runtime.cards import usable_gpus
from exemplar.runtime.collective import PartnerLostError
from exemplar.runtime.device import Compute, choose
from exemplar.runtime.signals import ENDS, sigterm_raises

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
SECONDS_FOR_AN_ANSWER = 600  # process 0 must write a checkpoint in less
SECONDS_TO_END = 30  # that all have to answer SIGTERM, process 0 with the closing of its run in MLflow
DAYS_FOR_THE_LEADER = 365  # it may wait for another training's end
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
LOST = "another process of this training was killed or does not answer; the same command goes on"


class Team:
    """The processes of one training, of which this is number `rank`; alone where nobody started several."""

    def __init__(self, rank: int, size: int, store: Store | None) -> None:
        self.rank, self.size, self.store = rank, size, store

    def choose(self, *, device: str, precision: str) -> Compute:
        """The device of this process; the leader's call lets the others begin."""
        compute = choose(device=device, precision=precision)
        if self.store is None:
            return compute
        if self.rank == 0:
            self.store.set("the leader is ready", "")
        self.store.wait(["the leader is ready"], timedelta(days=DAYS_FOR_THE_LEADER))
        distributed.init_process_group(
            BACKENDS[compute.device.type],
            store=PrefixStore("group", self.store),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=SECONDS_FOR_AN_ANSWER),
        )
        return replace(compute, rank=self.rank, processes=self.size)

    def is_first_to_tell(self) -> bool:
        """Whether no other process has told the user yet what went wrong; where the store is gone, one has."""
        with suppress(RuntimeError):
            return self.store is None or self.store.add("told", 1) == 1
        return False


@contextmanager
def joined() -> Iterator[Team]:
    """The team that the environment names, as torchrun sets it. When one process fails all end, and one tells why."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team(0, 1, None)
        return
    end_with_launcher()
    store, rank, size = next(rendezvous("env://", timeout=timedelta(seconds=SECONDS_FOR_AN_ANSWER)))
    team = Team(rank, size, PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store))
    try:
        yield team
    except BaseException as error:
        if not isinstance(error, ENDS) and team.is_first_to_tell():
            print_error(error)
        sys.stderr.flush()
        os._exit(1)  # a destructor that waits for processes which are gone may take minutes
    if distributed.is_initialized():
        distributed.destroy_process_group()


def print_error(error: BaseException) -> None:
    """One line for what a user or a lost process caused, a traceback for a mistake of ours; then leave an error file.

    torchrun names the error file, and `start` looks whether there is one.
    """
    if isinstance(error, PartnerLostError):
        error = UserError(LOST)
    if isinstance(error, UserError):
        say(f"error: {error}")
    else:
        traceback.print_exception(error)
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(path).write_text(json.dumps({"message": str(error)}), encoding="utf-8")


def end_with_launcher() -> None:
    """End this process with the launcher that started it, however that ends.

    torchrun ends its processes when it gets a signal that it can answer; SIGKILL would leave them running. Who is
    too late here misses the launcher's store and ends too.
    """
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spread(arguments: Sequence[str], *, device: str) -> bool:
    """Start this program once for every free GPU and wait for its end; False where there is one at most.

    Where `torchrun` has started several already, or the CPU is wanted, nothing is started. Ends this process, which
    holds the GPUs' locks, when one of them fails.
    """
    if "RANK" in os.environ or device == "cpu" or torch.cuda.device_count() < 2 or len(gpus := usable_gpus()) < 2:
        return False
    taken = machine.take(list(gpus.values()), most=len(gpus), folder=machine.lock_folder())
    if len(taken) < 2:
        return False
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[list(gpus)[index]] for index in taken)
    start(arguments, count=len(taken))
    return True


def start(arguments: Sequence[str], *, count: int) -> None:
    """Run a Python program in `count` processes, by the machinery of `torchrun --standalone`, until all have ended.

    Exits with status 1 when one of them fails; Ctrl-C and SIGTERM end all of them, and then rise here.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):  # the processes say what is to be said
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    interrupt = signal.getsignal(signal.SIGINT)
    with tempfile.TemporaryDirectory(prefix="exemplar-") as logs, sigterm_raises():
        try:
            elastic_launch(launch_config(logs, count), sys.executable)(*arguments)
        except ChildFailedError:
            if not any(Path(logs).rglob("error.json")):  # SIGTERM met the others before they missed the killed one
                say(f"error: {LOST}")
            sys.exit(1)
        except SignalException as end:
            if end.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            sys.exit(128 + end.sigval)
        finally:
            signal.signal(signal.SIGINT, interrupt)


def launch_config(logs: str, count: int) -> "LaunchConfig":
    """What `torchrun --standalone --nproc-per-node COUNT` sets, without restarts."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    # PyTorch 2.6 lacks both.
    newer: dict[str, Any] = {"signals_to_handle": "SIGTERM,SIGINT", "shutdown_timeout": SECONDS_TO_END}
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",  # looking a name up may take a minute
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        **{name: value for name, value in newer.items() if name in LaunchConfig.__dataclass_fields__},
    )
