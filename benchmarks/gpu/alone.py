"""Work in a process of its own: what it does to the card, and however it ends, costs no other row."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from multiprocessing.connection import Connection

import torch

from benchmarks.gpu.bounds import ended_after
from benchmarks.gpu.session import Row, Session, optional, skipped
from exemplar.runtime import device

SECONDS_TO_END = 15  # after the deadline, for what can no longer be interrupted
Alone = Callable[[Session], Iterator[Row]]
"""Work that a fresh process can import."""


def rows(name: str, work: Alone, session: Session) -> Iterator[Row]:
    """The rows of the work as they come; where it fails or its process dies, a row that says so."""
    session.release()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(name, work, session, theirs), daemon=True)
    process.start()
    theirs.close()  # else the end of the process would not end what is read
    try:
        while isinstance(message := ours.recv(), dict):
            yield message
        sys.stderr.write(message)  # all that it said, which comes last
    except EOFError:
        process.join()
        yield skipped(name, f"its process ended with exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()


def send(name: str, work: Alone, session: Session, answer: Connection) -> None:
    """What the process runs, with the parent's device, which the parent has locked."""
    device.cap_threads()
    if session.on_cuda:
        device.repeatable_on_cuda()
        torch.cuda.set_device(session.device)
    said = StringIO()
    with ended_after(session.left + SECONDS_TO_END), redirect_stderr(said):
        for row in optional(name, partial(work, session)):
            answer.send(row)
    answer.send(said.getvalue())
