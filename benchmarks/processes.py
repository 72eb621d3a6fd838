"""Two processes that share every batch, one thread each, against one process with two threads: the same training."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection

import torch
from torch.distributed.elastic.utils.distributed import get_free_port

from benchmarks import measure, training
from benchmarks.measure import LackingError, Rows, Works, check_same, rates, threads
from exemplar.runtime import device, processes

Loss = Callable[[], float]
PROCESSES, TARGET = 2, 1 / 1.1
MODELS = {"64c5-64c5-128f": (40, 2), "64c5-128c5-256c5-512f": (10, 1)}  # steps, steps of a quick look
EPOCHS, LARGEST_DIFFERENCE = 3, 1e-4


def works(*, quick: bool, repeats: int) -> Works:
    """A row for each network, after a look at its losses in float32."""
    if (os.cpu_count() or 1) < PROCESSES:
        raise LackingError(f"this machine has fewer than {PROCESSES} cores")
    for model, (full, few) in MODELS.items():
        yield partial(against_one, model, few if quick else full, few, repeats=repeats)


def against_one(model: str, steps: int, few: int, *, repeats: int) -> Rows:
    """Images a second of both."""
    with together(model, few, "float32") as (two, one):
        losses = [(two(), one()) for _ in range(EPOCHS)]
    check_same("losses", all(abs(ours - other) < LARGEST_DIFFERENCE for ours, other in losses))
    with together(model, steps, measure.precision()) as (two, one):
        amount = (steps * training.BATCH,) * 2
        name = f"training {model}, two processes against one on two cores"
        yield rates(name, two, one, amount=amount, unit="images/s", target=TARGET, repeats=repeats)


@contextmanager
def together(model: str, steps: int, precision: str) -> Iterator[tuple[Loss, Loss]]:
    """Two functions that train an epoch further and return its loss: with two processes, and with this one."""
    shared = {"WORLD_SIZE": f"{PROCESSES}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{get_free_port()}"}  # type: ignore[no-untyped-call]  # no types
    context, pipes = multiprocessing.get_context("spawn"), []
    for rank in range(PROCESSES):
        ours, theirs = context.Pipe()
        given = {**shared, "RANK": f"{rank}", "EXEMPLAR_THREADS": "1"}
        context.Process(target=work, args=(given, model, steps, precision, theirs), daemon=True).start()
        theirs.close()  # else the answer of a process that has ended would be waited for
        pipes.append(ours)
    compute = device.find(device="cpu", precision=precision)
    data, method = training.data_of(steps), training.draw_method(model)

    def two() -> float:
        for pipe in pipes:
            pipe.send(True)
        return [float(pipe.recv()) for pipe in pipes].pop()

    def one() -> float:
        return training.train(method, data, compute).loss

    try:
        with threads(PROCESSES):
            yield two, one
    finally:
        for pipe in pipes:
            with suppress(OSError):
                pipe.send(False)


def work(given: dict[str, str], model: str, steps: int, precision: str, orders: Connection) -> None:
    """One of the processes: an epoch for every order."""
    os.environ.update(given)
    torch.set_num_threads(1)
    with processes.joined() as team:
        compute = team.choose(device="cpu", precision=precision)
        data, method = training.data_of(steps), training.draw_method(model)
        while orders.recv():
            orders.send(training.train(method, data, compute).loss)
