"""Two processes that share every batch, on a GPU each (nccl), against one: the same losses, and the rate of both."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from functools import partial
from io import StringIO
from multiprocessing.connection import Connection

import torch
from torch.distributed.elastic.utils.distributed import get_free_port

from benchmarks import material
from benchmarks.gpu import networks
from benchmarks.gpu.session import Row, Session, Works, apart, compared, measured
from benchmarks.measure import LackingError
from exemplar.runtime import processes
from exemplar.runtime.device import Compute
from exemplar.training.contract import Epoch
from exemplar.training.loop import fit

EPOCHS, PROCESSES = 2, 2
SECONDS_FOR_AN_ANSWER, SECONDS_TO_END = 120, 5


def works(session: Session) -> Works:
    """A comparison in float32, and the rates."""
    if session.on_cuda and torch.cuda.device_count() < PROCESSES:
        raise LackingError(f"PyTorch sees {torch.cuda.device_count()} GPU; two are needed")
    yield "two processes", partial(against_one, session)


def against_one(session: Session) -> Iterator[Row]:
    """The same epochs by two processes and by this one."""
    model, batch = networks.models(session)[0], session.batch
    one = trained(session.exact, model, batch, quick=session.quick)
    session.release()  # process 0 has the same card
    two = together(session, model, batch)
    largest = apart([epoch.loss for epoch in two], [epoch.loss for epoch in one])
    name = f"{processes.BACKENDS[session.device.type]}, {PROCESSES} processes"
    yield compared(f"{name}: losses of {EPOCHS} epochs of {model}, relative", largest, allowed=1e-4)
    gain = two[-1].samples_per_second / one[-1].samples_per_second
    yield measured(f"{name}: {model}, {batch} a step", two[-1].samples_per_second, "images/s", times_one_process=gain)


def trained(compute: Compute, model: str, batch: int, *, quick: bool) -> list[Epoch]:
    """Epochs in this process, of which each computes its share."""
    data = material.surrogate_set(*((4, 8) if quick else (500, 100)))
    method, settings = networks.draw("fast", model, len(data.label)), networks.settings("fast", batch, EPOCHS)
    return list(fit(method, data, settings, compute=compute, random_seed=0, label="benchmark"))


def together(session: Session, model: str, batch: int) -> list[Epoch]:
    """What process 0 of the two records. Raises LackingError where there is no answer in time."""
    shared = {"WORLD_SIZE": f"{PROCESSES}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{get_free_port()}"}  # type: ignore[no-untyped-call]  # no types
    context, started, pipes = multiprocessing.get_context("spawn"), [], []
    for rank in range(PROCESSES):
        ours, theirs = context.Pipe()
        given = {**shared, "RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "EXEMPLAR_THREADS": "1"}
        arguments = (given, session.device.type, model, batch, session.quick, theirs)
        started.append(context.Process(target=work, args=arguments, daemon=True))
        started[-1].start()
        theirs.close()  # else the answer of a process that has ended would be waited for
        pipes.append(ours)
    try:
        with suppress(EOFError):
            if pipes[0].poll(SECONDS_FOR_AN_ANSWER):
                found: list[Epoch] = pipes[0].recv()
                return found
        raise LackingError(f"the {PROCESSES} processes gave no answer in {SECONDS_FOR_AN_ANSWER} s, or ended before")
    finally:
        for process in started:
            process.join(SECONDS_TO_END)
            process.kill()


def work(given: dict[str, str], device: str, model: str, batch: int, quick: bool, answer: Connection) -> None:
    """One of the processes."""
    os.environ.update(given)
    torch.set_num_threads(1)
    with processes.joined() as team, redirect_stderr(StringIO()):
        compute = team.choose(device=device, precision="float32")
        answer.send(trained(compute, model, batch, quick=quick))
