"""What becomes of a run whose MLflow server goes away: it waits on the disk and is sent later, and nothing twice."""

import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from exemplar import doctor
from exemplar.models.architecture import parse
from exemplar.models.network import Encoder
from exemplar.models.saved import save_encoder
from exemplar.tracking import outage, runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

# mlflow's own, which it hides itself outside of pytest
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


class Proxy:
    """A port of the loopback device in front of the server that passes bytes on, resets connections or stalls."""

    def __init__(self, target: int) -> None:
        self.target, self.mode, self.held = target, "pass", list[socket.socket]()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client = self.listening.accept()[0]
            except OSError:
                return
            if self.mode != "reset":
                self.held.append(client)
            if self.mode == "pass":
                server = socket.create_connection(("127.0.0.1", self.target))
                self.held.append(server)
                for pair in ((client, server), (server, client)):
                    Thread(target=self.copy, args=pair, daemon=True).start()
            elif self.mode == "reset":
                self.reset(client)

    def copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(1 << 16):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self, connection: socket.socket) -> None:
        with suppress(OSError):  # closed by the other side already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
        connection.close()

    def become(self, mode: str) -> None:
        """From now on; connections that are open end."""
        self.mode = mode
        for connection in self.held:
            self.reset(connection)
        self.held.clear()


@pytest.fixture
def proxy(port: int, patience: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The only way to the server, from a fresh repository."""
    made = Proxy(port)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:hunter2@127.0.0.1:{made.port}")
    yield made
    made.become("reset")
    made.listening.close()


def curve(client: "MlflowClient", run_id: str) -> list[tuple[int, float]]:
    """The steps and values of the loss."""
    return [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]


def train(proxy: Proxy, folder: Path, *, back: bool) -> str:
    """A run of four epochs in whose second the server goes away, for good or until the third; returns its id."""
    (folder / "curve.csv").write_text("first")
    save_encoder(Encoder(parse("4c5-8f"), mean=torch.zeros(3, 32, 32)), folder / "encoder.safetensors")
    with runs.run(stage="train", name="exemplar", parameters={"model": "4c5-8f"}, inputs=[]) as run:
        for epoch in range(4):
            run.next_send = 0
            run.log_metrics({"loss": 1 / (epoch + 1)}, step=epoch)
            if epoch == 0:
                proxy.become("reset")
            if epoch == 1:
                run.log_tags({"method": "exemplar"})
                run.log_file(folder / "curve.csv", folder="curves")
                (folder / "curve.csv").write_text("later")
                run.log_encoder(
                    folder / "encoder.safetensors",
                    example=np.zeros((2, 3, 48, 48), np.uint8),
                    name="exemplar-net",
                    ranked_on="photos",
                )
            if epoch == 2 and back:
                proxy.become("pass")
    return run.id


def assert_whole(client: "MlflowClient", run_id: str, folder: Path) -> None:
    """All of the run is in the store, once."""
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"model": "4c5-8f"}
    assert found.data.tags["method"] == "exemplar"
    assert "reason" not in found.data.tags
    assert curve(client, run_id) == [(0, 1), (1, 1 / 2), (2, 1 / 3), (3, 1 / 4)]
    copied = client.download_artifacts(run_id, "curves/curve.csv", str(folder))
    assert Path(copied).read_text() == "first"
    (model,) = client.search_logged_models([found.info.experiment_id], filter_string=f"source_run_id = '{run_id}'")
    assert model.status == "READY"
    assert not outage.pending()


def test_a_server_that_comes_back_gets_what_it_missed(
    proxy: Proxy, client: "MlflowClient", tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same process sends it, file and model as they were then; one warning tells it."""
    run_id = train(proxy, tmp_path, back=True)
    assert_whole(client, run_id, tmp_path)
    assert capfd.readouterr().err.count("warning: MLflow did not take all of it") == 1


def test_what_a_server_missed_for_good_is_sent_by_sync(
    proxy: Proxy, client: "MlflowClient", tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Until then `make doctor` names it, and no secret is on the disk. Sent again after a kill, it is there once."""
    run_id = train(proxy, tmp_path, back=False)
    told = capfd.readouterr().err
    assert "make sync" in told
    assert client.get_run(run_id).info.status == "RUNNING"
    (finding,) = doctor.unsent()
    assert finding.line().startswith(f"look  MLflow run {run_id}: 9 things wait for http://127.0.0.1:{proxy.port} ")
    (kept,) = outage.pending()
    assert "hunter2" not in told + "".join(file.read_text() for file in kept.files())
    shutil.copytree(kept.folder, tmp_path / "before")
    proxy.become("pass")
    assert list(outage.sync()) == [f"run {run_id} is sent"]
    ended = client.get_run(run_id).info.end_time
    assert_whole(client, run_id, tmp_path)
    shutil.copytree(tmp_path / "before", kept.folder)  # killed before the spool was removed
    assert list(outage.sync()) == [f"run {run_id} is sent"]
    assert_whole(client, run_id, tmp_path)
    assert client.get_run(run_id).info.end_time == ended
    assert list(outage.sync()) == []


KILLED = """
import os, signal
from exemplar.tracking import runs
with runs.run(stage="train", name="dies", parameters={}, inputs=[]) as run:
    print(run.id, flush=True)
    input()
    run.log_metrics({"loss": 1.0}, step=0)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_run_sends_what_a_killed_one_kept(proxy: Proxy, client: "MlflowClient", tmp_path: Path) -> None:
    """Then the killed run is closed; while its process lives, nobody else sends for it."""
    root = Path(runs.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    proxy.become("reset")
    process.communicate("\n")
    assert curve(client, run_id) == []
    proxy.become("pass")
    with runs.run(stage="seeds", name="next", parameters={}, inputs=[]):
        assert curve(client, run_id) == [(0, 1)]
        assert client.get_run(run_id).info.status == "KILLED"


def test_a_server_that_stalls_takes_a_hundredth_of_the_time(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One answer is waited for; then numbers go to the disk for a hundred times as long."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with runs.run(stage="train", name="exemplar", parameters={}, inputs=[]) as run:
        proxy.become("stall")
        run.next_send = 0
        started = time.monotonic()
        run.log_metrics({"loss": 1.0}, step=0)
        waited = time.monotonic() - started
        assert run.next_send - time.monotonic() > 90 * waited
        started = time.monotonic()
        for step in range(1, 20):
            run.log_metrics({"loss": 1.0}, step=step)
            run.log_tags({"step": str(step)})
        assert time.monotonic() - started < waited
        proxy.become("pass")
    assert not outage.pending()


def test_what_the_store_refuses_is_not_kept(proxy: Proxy, capfd: pytest.CaptureFixture[str]) -> None:
    """A name that MLflow does not accept would be refused tomorrow too."""
    with runs.run(stage="train", name="exemplar", parameters={}, inputs=[]) as run:
        run.log_metrics({"a,b": 1.0})
        run.send()
        assert not run.spool.waits
    assert "warning: MLflow did not take all of it" in capfd.readouterr().err


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> outage.Spool:
    """A spool with two operations, one with a file."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "file").write_text("content")
    made = outage.Spool("0123")
    made.keep({"kind": "batch", "metrics": [("loss", float("nan"), 1, 2)]}, store="http://host")
    made.keep({"kind": "file", "path": str(tmp_path / "file"), "folder": ""}, store="http://host")
    return made


def test_a_spool_that_is_written_belongs_to_its_process(kept: outage.Spool) -> None:
    """Nobody else sends it, until it is let go."""
    assert list(outage.abandoned()) == []
    kept.lock.release()
    (found,) = outage.abandoned()
    assert (found.run_id, found.store) == ("0123", "http://host")
    assert [found.read(file)["kind"] for file in found.files()] == ["batch", "file"]
    for file in found.files():
        found.drop(file)
    found.tidy()
    assert list(outage.spool_folder().iterdir()) == []


def test_what_a_kill_left_half_written_goes_with_the_rest(kept: outage.Spool) -> None:
    """Half an operation, and the copy of a file whose operation was sent."""
    (kept.folder / ".00000003.json.7.tmp").write_text("half")
    (kept.folder / "00000004").mkdir()
    for file in kept.files():
        kept.drop(file)
    assert kept.folder.exists()
    kept.tidy()
    assert list(outage.spool_folder().iterdir()) == []


def test_a_spool_is_kept_while_another_process_clears_it(kept: outage.Spool) -> None:
    """Whoever keeps something waits for whoever sends, and makes the folder anew that he has removed."""
    for file in kept.files():
        kept.drop(file)
    later = outage.Spool("0123")
    keeper = Thread(target=later.keep, args=({"kind": "batch"},), kwargs={"store": "http://host"})
    keeper.start()
    time.sleep(0.2)
    assert not later.waits
    kept.tidy()
    keeper.join(30)
    assert len(later.files()) == 1
    later.lock.release()


def test_who_looks_at_spools_does_not_trip_over_who_clears_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was listed may be gone a moment later."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))

    def fill_and_clear() -> None:
        for number in range(40):
            spool = outage.Spool(f"{number:04x}")
            spool.keep({"kind": "batch"}, store="http://host")
            spool.drop(spool.files()[0])
            spool.tidy()

    other = Thread(target=fill_and_clear)
    other.start()
    while other.is_alive():
        assert {spool.store for spool in outage.pending()} <= {"http://host", ""}
    assert list(outage.spool_folder().iterdir()) == []
