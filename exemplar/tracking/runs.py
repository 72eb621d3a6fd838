"""A run in MLflow: parameters, curves, files, where it comes from and how it ended.

Only this package imports mlflow, when a run starts, which takes 2 seconds. The store must answer when a run starts.
Afterwards no error of the store stops the work: what it does not take is kept on disk and sent later.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exemplar.errors import one_line, say
from exemplar.io import provenance
from exemplar.io.unfinished import work_folder
from exemplar.runtime.signals import sigterm_raises
from exemplar.tracking import outage, owners, sidecars, store
from exemplar.tracking.operations import Sender
from exemplar.tracking.telling import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
        run = Run(client, experiment=experiment, run_id=run_id, address=address, held=last_steps(client, run_id))
        run.spool.forget_end()
        run.log_tags({**named, "resumed": "true"})
        return run
    run_id = client.create_run(experiment, run_name=name, tags=named).info.run_id
    return Run(client, experiment=experiment, run_id=run_id, address=address, held={})


def last_steps(client: "MlflowClient", run_id: str) -> dict[str, int]:
    """The last step of every curve that a run already holds."""
    curves = client.get_run(run_id).data.metrics
    return {name: max(point.step for point in client.get_metric_history(run_id, name)) for name in curves}


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
