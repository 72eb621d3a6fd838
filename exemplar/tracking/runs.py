"""A run in MLflow: parameters, curves, files, where it comes from and how it ended.

Only this package imports mlflow, when a run starts, which takes 2 seconds. The store must answer when a run starts.
Afterwards no error of the store stops the work: what it does not take is kept on disk and sent later.
"""

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import UInt8

from exemplar.errors import one_line, say
from exemplar.io import provenance
from exemplar.io.unfinished import work_folder
from exemplar.params.dotted import flatten
from exemplar.runtime.signals import sigterm_raises
from exemplar.tracking import outage, owners, sidecars, store, view
from exemplar.tracking.operations import FILES, NUMBERS, Operation, Sender, part_of, refused
from exemplar.tracking.remedies import advised

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHARE_OF_TIME = 0.01  # at most this share of a run is spent sending numbers, however slow the store
SECONDS_BETWEEN_SENDS, SECONDS_BETWEEN_TRIES = 2.0, 30.0  # while the store takes them, and while it does not
METRICS_A_REQUEST, PARAMETERS_A_REQUEST, PARAMETER_LENGTH = 1000, 100, 6000  # MLflow's limits
Item = TypeVar("Item")


def parts(items: list[Item], most: int) -> list[list[Item]]:
    """A list in pieces of at most `most`."""
    return [items[first : first + most] for first in range(0, len(items), most)]


class Run:
    """One run in the store, while it lasts; `held` says up to which step the store has its curves already.

    What it tells is in memory until the store has taken or refused it, or until the disk keeps it.
    """

    def __init__(
        self, client: "MlflowClient", *, experiment: str, run_id: str, address: str, held: Mapping[str, int]
    ) -> None:
        self.sender, self.experiment, self.id = Sender(client), experiment, run_id
        self.address, self.held = address, held
        self.spool = outage.Spool(run_id)
        self.numbers, self.unsent = list[tuple[str, float, int, int]](), list[Operation]()
        self.next_send = 0.0
        self.warned = set[str]()
        self.samples_per_second: float | None = None  # of a training, for its sidecar

    @property
    def pages(self) -> str:
        """Where MLflow shows runs of this experiment: an address that a run's id ends."""
        return view.run_address(store.address(), self.experiment)

    def warn(self, part: str, told: str) -> None:
        """Say once of each part of the server that it fails, and nothing of files once the rest has failed too."""
        if self.warned.isdisjoint({part, NUMBERS} if part == FILES else {part}):
            what = "the files of" if part == FILES else "all of"
            say(f"warning: MLflow did not take {what} it, the work goes on: {told}")
        self.warned.add(part)

    def tell(self, kind: str, **operation: object) -> None:
        """Send an operation, or keep it until it can be sent."""
        self.unsent.append({"kind": kind, **operation})
        self.flush()

    def flush(self) -> None:
        """Send what is in memory; what neither the store nor the disk takes stays there."""
        for operation in list(self.unsent):
            if self.is_settled(operation):
                self.unsent.remove(operation)

    def is_settled(self, operation: Operation) -> bool:
        """Whether the store has taken or refused an operation, or else the disk keeps it."""
        part = part_of(operation)
        try:
            self.sender.send(self.id, operation)
        except Exception as error:
            if refused(error):
                self.warn("refused", f"{one_line(error)} (it was refused for good)")
                return True
            try:
                self.spool.keep(operation, store=self.address)
            except Exception as full:
                self.warn(part, advised(error, kept=f"it stays in memory, .spool cannot keep it: {one_line(full)}"))
                return False
            self.warn(part, advised(error, kept="it is kept, and sent later or by make sync"))
        return True

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run, such as the ids of the runs that it rests on."""
        for part in parts(list(tags.items()), PARAMETERS_A_REQUEST):
            self.tell("batch", tags=part)

    def log_start(self, parameters: Mapping[str, object], *, patch: str) -> None:
        """Log the parameters, and the patch by which the tree differs from its commit."""
        leaves = [(key, str(value)[:PARAMETER_LENGTH]) for key, value in flatten(parameters).items()]
        for part in parts(leaves, PARAMETERS_A_REQUEST):
            self.tell("batch", params=part)
        if patch:
            self.tell("text", text=patch, name="git.diff")

    def log_metrics(self, metrics: Mapping[str, int | float], *, step: int = 0) -> None:
        """Numbers at a step (an epoch, a fold), sent together every few seconds and at the end, and no step twice."""
        now = int(time.time() * 1000)
        new = {key: value for key, value in metrics.items() if step > self.held.get(key, -1)}
        self.numbers += [(key, float(value), now, step) for key, value in new.items()]
        if time.monotonic() >= self.next_send:
            self.send()

    def send(self) -> None:
        """Send what the disk and the memory keep; where the store is away, all of it is on the disk then."""
        started = time.monotonic()
        self.pack_numbers()
        refusals, _ = outage.deliver(self.sender, self.spool)
        for each in refusals:
            self.warn("refused", f"{each} (it was refused for good)")
        self.flush()
        now = time.monotonic()
        pause = SECONDS_BETWEEN_TRIES if self.spool.waits or self.unsent else SECONDS_BETWEEN_SENDS
        self.next_send = now + max(pause, (now - started) / SHARE_OF_TIME)

    def pack_numbers(self) -> None:
        """Make operations of the numbers that came since the last sending."""
        self.unsent += [{"kind": "batch", "metrics": part} for part in parts(self.numbers, METRICS_A_REQUEST)]
        self.numbers = []

    def nest(self, run_ids: Iterable[str]) -> None:
        """Show other runs below this one, unless they are below another; those of another store are passed over."""
        self.tell("nest", runs=list(run_ids))

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """A copy of a file or a folder as an artifact, in `folder`."""
        self.tell("file", path=str(path), folder=folder)

    def log_encoder(self, path: Path, *, example: UInt8[np.ndarray, "n 3 h w"]) -> None:
        """A saved encoder as a logged model that `mlflow.pyfunc` loads in any process, to turn images into features.

        It holds the file, a copy of this package, and the first image of `example`; nothing is pickled.
        """
        self.tell("encoder", path=str(path), example=example[:1].tolist())

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Send what waits and close the run as FINISHED, FAILED or KILLED, with the reason as a tag.

        A user who ends the work waits for one answer at most: no file is sent then.
        """
        reason = one_line(f"{type(error).__name__}: {error}".rstrip(": ")) if error else ""
        self.sender.failures.clear()
        if status == "KILLED":
            self.sender.leave_alone(FILES, TimeoutError("the run was ended"), seconds=math.inf)
        self.pack_numbers()  # before the end: a kill between the two leaves a run that is not finished
        self.unsent.append({"kind": "end", "status": status, "at": int(time.time() * 1000), "reason": reason})
        self.send()
        if self.unsent:
            number = len(self.unsent)
            self.warn("lost", f"{number} things of run {self.id} are lost, neither MLflow nor .spool could take them")
        self.spool.lock.release()  # from now on anybody may send what is left


def start(client: "MlflowClient", *, experiment: str, name: str, tags: Mapping[str, str], marker: Path | None) -> Run:
    """Continue the run of the work that `marker` names, or start a new one."""
    address = one_line(store.address())
    told = list(outage.deliver_abandoned(Sender(client), address))  # before runs are closed: one may have ended
    more = f" (and {len(told) - 1} more runs; make sync tells all)" if len(told) > 1 else ""
    if told:
        say(f"MLflow {told[0]}{more}")
    store.close_orphans(client, experiment)
    named = {**tags, store.WORK_TAG: store.work_of(marker)} if marker else dict(tags)
    if marker and (run_id := store.reopened(client, experiment, named[store.WORK_TAG])):
        run = Run(client, experiment=experiment, run_id=run_id, address=address, held=store.last_steps(client, run_id))
        run.spool.forget_end()
        run.log_tags({**named, "resumed": "true"})
        return run
    run_id = client.create_run(experiment, run_name=name, tags=named).info.run_id
    return Run(client, experiment=experiment, run_id=run_id, address=address, held={})


@contextmanager
def run(
    *, stage: str, name: str, parameters: Mapping[str, object], inputs: Iterable[Path], marker: Path | None = None
) -> Iterator[Run]:
    """A run in MLflow around the block: FINISHED, FAILED if the block raises, KILLED on Ctrl-C and SIGTERM.

    `name` is shown in lists; `inputs` are the files and folders that the stage reads. The file `marker` names the work
    while it is unfinished; where there is a run of that work already, it goes on. Raises UserError when the store
    does not answer. Use it in the main thread, one run at a time.
    """
    uri = store.address()
    tags = {"stage": stage, "mlflow.source.name": f"stages/{stage}.py", owners.TAG: owners.owner()}
    changes = provenance.changes()
    if changes.are_missed:
        say(f"warning: git does not tell the commit or the changes of this run: {changes.unknown}")
    tags |= provenance.tree_tags(changes) | provenance.experiment_tags() | provenance.input_tags(inputs)
    with sigterm_raises():
        with store.answering(uri):
            client, experiment = store.connect(uri)
            started = start(client, experiment=experiment, name=name, tags=tags, marker=marker)
        try:
            started.log_start(parameters, patch=changes.patch)
            yield started
        except Exception as error:
            started.end("FAILED", error)
            raise
        except BaseException as error:
            started.end("KILLED", error)
            raise
        started.end("FINISHED")


def name_of(stage: str, *of: str) -> str:
    """What a run is called: method, stage, dataset, and the DVC experiment where there is one."""
    parts = (*of[-1:], stage, *of[:-1], os.environ.get("DVC_EXP_NAME", ""))
    return " · ".join(filter(None, parts))


@contextmanager
def work(
    stage: str, *of: str, settings: Mapping[str, object], inputs: list[Path], result: Path | None = None
) -> Iterator[tuple[Run, Path]]:
    """A run in MLflow and a folder of the stage's own, `of` a dataset, a method or both; a kill leaves both to go on.

    The block writes `result`, beside which a sidecar then says how it was made.
    """
    with (
        work_folder(stage, *of, settings=settings, inputs=inputs) as unfinished,
        run(
            stage=stage, name=name_of(stage, *of), parameters=settings, inputs=inputs, marker=unfinished / "run"
        ) as started,
    ):
        begun = time.monotonic()
        yield started, unfinished
        if result is not None:
            path, seconds = sidecars.path_of(stage, *of, result=result), time.monotonic() - begun
            known = sidecars.load(path)
            if known is None or known.run_id != started.id:  # else a killed DVC starts again what had ended
                sidecars.save(sidecars.Sidecar(started.id, seconds, started.samples_per_second), path)
