"""A step of training as one launch: captured as a CUDA graph after a few steps, and replayed from then on.

A capture runs nothing. It notes what a step launches, on which tensors and with which numbers of the host. So all that
changes from step to step lies in tensors that stay where they are: the rows of the batch, the learning rates
(`state.py`), weights, averages and momenta. Of random numbers PyTorch keeps count: a replay draws what a step would.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from exemplar.errors import UserError, one_line, say
from exemplar.runtime import machine
from exemplar.runtime.device import Compute
from exemplar.training.learner import Learner

SWITCH = "EXEMPLAR_CUDA_GRAPH"  # the environment variable that asks for it
STEPS_BEFORE = 3  # they make momenta and constants, and start CUDA's libraries
Result = TypeVar("Result")
Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
"""Notes what some work does, without doing it, and gives what does it. Raises RuntimeError where that cannot be."""


def cuda_graph(work: Callable[[], None]) -> Replay:
    """The work as one launch on the current GPU."""
    graph = torch.cuda.CUDAGraph()
    # PyTorch stays on its own stream when a capture fails; the outer block goes back.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        work()
    return graph.replay


def chosen(given: Capture | None, model: Learner, compute: Compute, *, label: str) -> Capture | None:
    """What captures steps: what is given, else a CUDA graph where EXEMPLAR_CUDA_GRAPH is 1; None for steps as they are.

    A line of process 0 says why where it was asked for and cannot be. Raises UserError for another value of the
    variable.
    """
    asked = machine.is_on(SWITCH, default=False, to="capture the steps of a GPU as a CUDA graph")
    capture = given or (cuda_graph if asked else None)
    if capture and (reason := obstacle(capture, model, compute)):
        if compute.rank == 0:
            say(f"{label}: no step is captured as a CUDA graph, because {reason}")
        return None
    return capture


def obstacle(capture: Capture, model: Learner, compute: Compute) -> str | None:
    """Why no step can be captured."""
    if capture is cuda_graph and compute.device.type != "cuda":
        return f"the device is {compute.device}"
    if compute.processes > 1:
        return "several processes share the training"
    return model.on_host


class Steps(Generic[Result]):
    """Does a step with the indices of one batch after another: the first three as they are, the others by a replay.

    Without a `capture` all are as they are, and so is one of fewer rows than `batch_size`, such as an epoch's last.
    What a replay gives is overwritten by the next one.
    """

    indices: Int64[Tensor, " b"]
    given: Result

    def __init__(
        self, step: Callable[[Tensor], Result], *, batch_size: int, capture: Capture | None, label: str
    ) -> None:
        self.step, self.batch_size, self.capture, self.label = step, batch_size, capture, label
        self.done, self.smaller = 0, 0
        self.replay: Replay | None = None

    def __call__(self, indices: Int64[Tensor, " b"]) -> Result:
        """What the step gives for these rows."""
        if self.capture is None:
            return self.step(indices)
        if len(indices) < self.batch_size:
            self.smaller += 1
            return self.step(indices)
        self.done += 1
        if self.done <= STEPS_BEFORE:
            return self.step(indices)
        if self.replay is None:
            before = sys.exc_info()[1]  # what a caller is dealing with stands behind every error
            try:
                self.replay = self.captured(self.capture, indices)
            except RuntimeError as error:
                if not isinstance(cause := first(error, before=before), Exception):  # Ctrl-C
                    raise cause from None
                reason = one_line(cause)
            if self.replay is None:  # the error is gone here, and with it what it held of the memory
                return self.without(reason, indices)
        self.indices.copy_(indices)
        self.replay()
        return self.given

    def captured(self, capture: Capture, indices: Int64[Tensor, " b"]) -> Replay:
        """A replay of the step for the rows that `self.indices` holds by then; its result lies in `self.given`."""
        self.indices = indices.clone()

        def work() -> None:
            self.given = self.step(self.indices)

        with current(indices.device):
            return capture(work)

    def without(self, reason: str, indices: Int64[Tensor, " b"]) -> Result:
        """The step as it is, like all that follow. Raises UserError where what is left of the capture prevents it."""
        say(f"{self.label}: a step cannot be captured as a CUDA graph ({reason}); the training goes on without one")
        self.capture = None
        try:
            return self.step(indices)
        except RuntimeError as error:
            raise UserError(
                f"{self.label}: a step could not be captured as a CUDA graph ({reason}), and none can be done after "
                f"that ({one_line(error)}); run it again without {SWITCH}"
            ) from None

    def end(self) -> None:
        """A line where a capture was asked for, and no step came to it."""
        if self.capture and self.replay is None and (self.done or self.smaller):
            say(
                f"{self.label}: no step was captured as a CUDA graph, because that takes more than {STEPS_BEFORE} "
                f"batches of {self.batch_size} rows, and this run had {self.done}"
            )


def current(device: torch.device) -> AbstractContextManager[object]:
    """In the block it is the GPU that a capture is of; nothing for another device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def first(error: BaseException, *, before: BaseException | None) -> BaseException:
    """What went wrong first: a capture in which something fails cannot be ended either.

    What went wrong `before` all of it, which `sys.exc_info` told then, is no part of it.
    """
    while error.__context__ not in (None, before) and not error.__suppress_context__:
        error = error.__context__
    return error
