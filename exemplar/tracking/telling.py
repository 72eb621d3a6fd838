"""What a run tells MLflow while it lasts: sent at once where the store takes it, else kept and sent later."""

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import UInt8

from exemplar.datasets import intervals
from exemplar.datasets.evaluation import Evaluation
from exemplar.errors import one_line, say
from exemplar.io import provenance, sources
from exemplar.params.dotted import flatten
from exemplar.tracking import outage, registry, store, view
from exemplar.tracking.operations import FILES, MODELS, NUMBERS, Operation, Sender, part_of, refused
from exemplar.tracking.remedies import advised

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHARE_OF_TIME = 0.01  # at most this share of a run is spent sending numbers, however slow the store
SECONDS_BETWEEN_SENDS, SECONDS_BETWEEN_TRIES = 2.0, 30.0  # while the store takes them, and while it does not
METRICS_A_REQUEST, PARAMETERS_A_REQUEST, PARAMETER_LENGTH = 1000, 100, 6000  # MLflow's limits
PARTS = {FILES: "the files of", MODELS: "the registered model of"}
DIGITS = 12  # of a dataset's md5, which tables of MLflow show; a tag of the run has all
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
        """Say once of each part of the server that it fails, and of files and models only while the rest does not."""
        if self.warned.isdisjoint({part, NUMBERS} if part in PARTS else {part}):
            what = PARTS.get(part, "all of")
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

    def log_picture(self, path: Path, *, run_id: str) -> None:
        """A picture as an artifact of the run that made what it shows; nothing where that is in another store."""
        self.tell("picture", path=str(path), run=run_id)

    def log_dataset(self, name: str, folder: Path, *, url: str | None, context: str) -> None:
        """Name the images that the run reads, by the first digits of the md5 that DVC recorded; nothing without one."""
        for md5 in provenance.input_tags([folder]).values():
            source = sources.shown(url) if url else folder.as_posix()
            self.tell("dataset", name=name, md5=md5[:DIGITS], source=source, context=context)

    def log_encoder(self, path: Path, *, example: UInt8[np.ndarray, "n 3 h w"], name: str, ranked_on: str) -> None:
        """A saved encoder as a logged model that `mlflow.pyfunc` loads in any process, to turn images into features.

        It holds the file, a copy of this package, and the first image of `example`; nothing is pickled. It becomes a
        version of the registered model `name`, whose alias stands on the best one by the probe on `ranked_on`.
        """
        md5 = sources.digest(path)
        self.log_tags({registry.ENCODER: md5})
        self.tell("encoder", path=str(path), example=example[:1].tolist())
        self.pack_numbers()  # the card tells some of them
        self.tell("version", name=name, md5=md5, ranked_on=ranked_on)

    def log_evaluation(
        self,
        record: Path,
        *,
        encoder: Path,
        steps: Iterable[tuple[int, Mapping[str, float]]],
        ranked_on: str,
        **tags: str,
    ) -> None:
        """What was measured of an encoder, also on the card of the encoder; `tags` are dataset, method and readout."""
        md5 = sources.digest(encoder)
        self.log_tags({**tags, registry.ENCODER: md5})
        for step, metrics in steps:
            self.log_metrics(metrics, step=step)
        self.log_metrics({"accuracy_margin": intervals.of_accuracy(Evaluation.load(record)).margin}, step=0)
        self.log_file(record)
        self.pack_numbers()
        self.tell("evaluation", md5=md5, ranked_on=ranked_on)

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Send what waits and close the run as FINISHED, FAILED or KILLED, with the reason as a tag.

        A user who ends the work waits for one answer at most: no file and no model is sent then.
        """
        reason = one_line(f"{type(error).__name__}: {error}".rstrip(": ")) if error else ""
        self.sender.failures.clear()
        if status == "KILLED":
            for part in PARTS:
                self.sender.leave_alone(part, TimeoutError("the run was ended"), seconds=math.inf)
        self.pack_numbers()  # before the end: a kill between the two leaves a run that is not finished
        self.unsent.append({"kind": "end", "status": status, "at": int(time.time() * 1000), "reason": reason})
        self.send()
        if self.unsent:
            number = len(self.unsent)
            self.warn("lost", f"{number} things of run {self.id} are lost, neither MLflow nor .spool could take them")
        self.spool.lock.release()  # from now on anybody may send what is left
