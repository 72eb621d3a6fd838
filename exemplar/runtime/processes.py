"""How the processes of one training start and end together, whether the stage or `torchrun` started them.

Process 0 leads: it alone has a run in MLflow, a checkpoint and files. What they must agree on before and after the
arithmetic goes through the small store that PyTorch keeps for them.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but its file does not list it
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from exemplar.errors import UserError
from exemplar.runtime import sharing
from exemplar.runtime.collective import PartnerLostError
from exemplar.runtime.device import Compute, choose, gpu_names
from exemplar.runtime.signals import sigterm_raises

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
SECONDS_FOR_AN_ANSWER = 600  # longer than the leader takes to write a checkpoint
SECONDS_TO_END = 30  # for the leader to close its run, and then for all to answer SIGTERM
SECONDS_BETWEEN_LOOKS = 0.1
DAYS_FOR_THE_LEADER = 365  # it may wait for another training's end
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


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
    end_with_parent()
    store, rank, size = next(rendezvous("env://", timeout=timedelta(seconds=SECONDS_FOR_AN_ANSWER)))
    team = Team(rank, size, PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store))
    try:
        yield team
    except BaseException as error:
        if team.is_first_to_tell():
            print_error(error)
        sys.stderr.flush()
        os._exit(1)  # a destructor of what waits for those who are gone may take minutes
    if distributed.is_initialized():
        distributed.destroy_process_group()


def print_error(error: BaseException) -> None:
    """One line for what a user or a lost process caused, a traceback for a mistake of ours."""
    if isinstance(error, PartnerLostError):
        error = UserError("another process of this training was killed or does not answer; the same command goes on")
    if isinstance(error, UserError):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def end_with_parent() -> None:
    """A process that `launch` started does not outlive it, were it killed."""
    if sys.platform == "linux" and os.environ.get("EXEMPLAR_PARENT"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ["EXEMPLAR_PARENT"]):
            sys.exit(1)


def spread(arguments: Sequence[str], *, device: str) -> bool:
    """Start this program once for every free GPU and wait for its end; False where there is one at most.

    Who has started several already, or wants the CPU, is left alone. Ends this process when one of them fails.
    """
    if "RANK" in os.environ or device == "cpu" or torch.cuda.device_count() < 2:
        return False
    names = gpu_names()
    taken = sharing.take(names, most=len(names), folder=sharing.lock_folder())
    if len(taken) < 2:
        return False
    if status := launch(arguments, places=taken):
        sys.exit(status)
    return True


def launch(arguments: Sequence[str], *, places: Sequence[int]) -> int:
    """Run a Python program in one process per place (a GPU's index) as torchrun does; 0, or a failed one's status."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with sigterm_raises():
        started = [
            subprocess.Popen([sys.executable, *arguments], env=environment(rank, place, len(places), store.port))
            for rank, place in enumerate(places)
        ]
        try:
            while None in (statuses := [process.poll() for process in started]) and not any(statuses):
                time.sleep(SECONDS_BETWEEN_LOOKS)
            wait(started)
        except KeyboardInterrupt:  # the terminal has told them too
            wait(started)
            raise
        finally:
            stop(started)
    return abs(next(filter(None, statuses), 0))


def environment(rank: int, place: int, size: int, port: int) -> dict[str, str]:
    """What torchrun would set for this process."""
    numbers = {"RANK": rank, "LOCAL_RANK": place, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    words = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True", "EXEMPLAR_PARENT": str(os.getpid())}
    return {**os.environ, **{name: str(number) for name, number in numbers.items()}, **words}


def wait(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Until all have ended, but not for ever."""
    end = time.monotonic() + SECONDS_TO_END
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(SECONDS_BETWEEN_LOOKS)


def stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """End those that still run: politely first, as Ctrl-C or SIGTERM would."""
    for signal_method in ("terminate", "kill"):
        for process in processes:
            if process.poll() is None:
                getattr(process, signal_method)()
        wait(processes)
