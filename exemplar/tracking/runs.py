"""A run in MLflow: parameters, curves, files, where it comes from and how it ended.

Only this package imports mlflow, when a run starts, which takes 2 seconds. The store must answer when a run starts.
Afterwards no error of the store stops the work: what it does not take is kept on disk and sent later.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import UInt8

from exemplar.io import provenance
from exemplar.io.unfinished import work_folder
from exemplar.params.dotted import flatten
from exemplar.runtime.signals import sigterm_raises
from exemplar.tracking import outage, sidecars, store, view
from exemplar.tracking.outage import deliver, deliver_pending, one_line, perform, refused

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHARE_OF_TIME = 0.01  # at most this share of a run is spent sending numbers, however slow the store
SECONDS_BETWEEN_SENDS = 2.0
METRICS_A_REQUEST, PARAMETERS_A_REQUEST, PARAMETER_LENGTH = 1000, 100, 6000  # MLflow's limits
Item = TypeVar("Item")


def parts(items: list[Item], most: int) -> list[list[Item]]:
    """A list in pieces of at most `most`."""
    return [items[first : first + most] for first in range(0, len(items), most)]


def sync() -> Iterator[str]:
    """Send what waits in the user's repository; a line about each run that something was kept of."""
    uri = store.address()
    with store.answering(uri):
        client, _ = store.connect(uri)
    yield from deliver_pending(client, one_line(uri))


class Run:
    """One run in the store, while it lasts; `held` says up to which step the store has its curves already."""

    def __init__(
        self, client: "MlflowClient", *, experiment: str, run_id: str, address: str, held: Mapping[str, int]
    ) -> None:
        self.client, self.experiment, self.id, self.held = client, experiment, run_id, held
        self.spool = outage.Spool(run_id, store=address)
        self.waiting: list[tuple[str, float, int, int]] = []
        self.next_send = 0.0
        self.warned = False
        self.samples_per_second: float | None = None  # of a training, for its sidecar

    @property
    def pages(self) -> str:
        """Where MLflow shows runs of this experiment: an address that a run's id ends."""
        return view.run_address(store.address(), self.experiment)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let the work go on when the store or its spool fails in the block, and say so once."""
        try:
            yield
        except Exception as error:
            kept = " (it is kept, and sent later or by make sync)" if self.spool.waits else ""
            if not self.warned:
                warning = f"warning: MLflow did not take all of it, the work goes on: {one_line(error)}{kept}"
                print(warning, file=sys.stderr)
            self.warned = True

    def send_or_spool(self, kind: str, **operation: object) -> None:
        """Send an operation; keep it on disk where the store fails, or where earlier ones wait there already."""
        named = {"kind": kind, **operation}
        with self.watching():
            if self.spool.waits:
                return self.spool.keep(named)
            try:
                perform(self.client, self.id, named)
            except Exception as error:
                if not refused(error):
                    self.spool.keep(named)
                raise

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run, such as the ids of the runs that it rests on."""
        for part in parts(list(tags.items()), PARAMETERS_A_REQUEST):
            self.send_or_spool("batch", tags=part)

    def log_start(self, parameters: Mapping[str, object], *, patch: str) -> None:
        """Log the parameters, and the patch by which the tree differs from its commit."""
        leaves = [(key, str(value)[:PARAMETER_LENGTH]) for key, value in flatten(parameters).items()]
        for part in parts(leaves, PARAMETERS_A_REQUEST):
            self.send_or_spool("batch", params=part)
        if patch:
            self.send_or_spool("text", text=patch, name="git.diff")

    def log_metrics(self, metrics: Mapping[str, int | float], *, step: int = 0) -> None:
        """Numbers at a step (an epoch, a fold), sent together every few seconds and at the end, and no step twice."""
        now = int(time.time() * 1000)
        new = {key: value for key, value in metrics.items() if step > self.held.get(key, -1)}
        self.waiting += [(key, float(value), now, step) for key, value in new.items()]
        if time.monotonic() >= self.next_send:
            self.send()

    def send(self) -> None:
        """Send what was kept and the numbers that wait; where the store takes neither, both are on disk then."""
        started = time.monotonic()
        if self.spool.waits:
            with self.watching():
                deliver(self.client, self.spool)
        for part in parts(self.waiting, METRICS_A_REQUEST):
            self.send_or_spool("batch", metrics=part)
        self.waiting = []
        now = time.monotonic()
        self.next_send = now + max(SECONDS_BETWEEN_SENDS, (now - started) / SHARE_OF_TIME)

    def nest(self, run_ids: Iterable[str]) -> None:
        """Show other runs below this one, unless they are below another; those of another store are passed over."""
        self.send_or_spool("nest", runs=list(run_ids))

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """A copy of a file or a folder as an artifact, in `folder`."""
        self.send_or_spool("file", path=str(path), folder=folder)

    def log_encoder(self, path: Path, *, example: UInt8[np.ndarray, "n 3 h w"]) -> None:
        """A saved encoder as a logged model that `mlflow.pyfunc` loads in any process, to turn images into features.

        It holds the file, a copy of this package, and the first image of `example`; nothing is pickled.
        """
        self.send_or_spool("encoder", path=str(path), example=example[:1].tolist())

    def end(self, status: str, reason: BaseException | None = None) -> None:
        """Send what waits and close the run as FINISHED, FAILED or KILLED, with the reason as a tag."""
        self.send()
        if reason is not None:
            self.log_tags({"reason": one_line(f"{type(reason).__name__}: {reason}".rstrip(": "))})
        self.send_or_spool("end", status=status, at=int(time.time() * 1000))
        self.spool.lock.release()  # from now on anybody may send what is left


def start(client: "MlflowClient", *, experiment: str, name: str, tags: Mapping[str, str], marker: Path | None) -> Run:
    """Continue the run of the work that `marker` names, or start a new one."""
    address = one_line(store.address())
    for line in deliver_pending(client, address):  # before runs are closed: one that has ended may not have said so yet
        print(f"MLflow {line}", file=sys.stderr)
    store.close_orphans(client, experiment)
    named = {**tags, store.WORK_TAG: store.work_of(marker)} if marker else dict(tags)
    if marker and (run_id := store.reopened(client, experiment, named[store.WORK_TAG])):
        run = Run(client, experiment=experiment, run_id=run_id, address=address, held=store.last_steps(client, run_id))
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
    tags = {"stage": stage, "mlflow.source.name": f"stages/{stage}.py", store.PROCESS_TAG: store.owner()}
    changes = provenance.changes()
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
