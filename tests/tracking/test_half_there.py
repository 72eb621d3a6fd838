"""Servers of which a part fails: what can arrive arrives, what cannot waits, and one line names cause and remedy."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gates import DRIP, Gate
from somebody import as_somebody

from exemplar import doctor
from exemplar.errors import UserError
from exemplar.tracking import operations, outage, owners, runs, store
from exemplar.tracking.operations import NUMBERS, Sender
from stages import sync

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Entry

# mlflow's own, which it hides itself outside of pytest
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


@contextmanager
def begun(marker: Path | None = None) -> Iterator[runs.Run]:
    """A run that sends at once whatever it is told."""
    with runs.run(stage="train", name="exemplar", parameters={"model": "4c5-8f"}, inputs=[], marker=marker) as run:
        yield run


def tell(run: runs.Run, step: int) -> None:
    """Log a number now."""
    run.next_send = 0
    run.log_metrics({"loss": float(step)}, step=step)


def steps(client: "MlflowClient", run: runs.Run) -> list[int]:
    """The steps whose loss the server has."""
    return [point.step for point in client.get_metric_history(run.id, "loss")]


def artifacts(client: "MlflowClient", run: runs.Run) -> list[str]:
    """The names of the run's files, but for that of the changed tree."""
    return [file.path for file in client.list_artifacts(run.id) if file.path != "git.diff"]


def entry(client: "MlflowClient", run: runs.Run) -> "Entry":
    """The run as the server holds it, which must have ended well."""
    found = client.get_run(run.id)
    assert (found.info.status, found.data.tags.get("reason")) == ("FINISHED", None)
    return found


def synced(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status of `make sync` and what it prints."""
    capsys.readouterr()
    try:
        sync.send()
    except SystemExit as end:
        return int(str(end.code)), capsys.readouterr().out
    return 0, capsys.readouterr().out


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "curve.csv"
    path.write_text("epoch,loss\n")
    return path


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (
            "s3://bucket/x",
            r"(install boto3 where the stages run|give the credentials of its artifact store); it is kept",
        ),
        ("ftp://127.0.0.1:9/x", r"Connection refused \(it is kept, and sent later or by make sync\)"),
    ],
)
def test_an_artifact_store_that_takes_nothing_holds_nothing_else_back(
    gate: Gate,
    client: "MlflowClient",
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    cause: str,
) -> None:
    """S3 without boto3 or credentials, a server that is off: the rest arrives, and `make sync` says what waits."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client.create_experiment(store.experiment_name(), artifact_location=place)
    with begun() as first:
        first.log_file(file)
        tell(first, 0)
        first.log_tags({"method": "exemplar"})
    told = capsys.readouterr().err
    assert told.count("warning: MLflow did not take the files of it") == 1 == len(told.splitlines())
    assert re.search(cause, told)
    with begun() as second:
        second.log_file(file)
    assert entry(client, first).data.tags["method"] == "exemplar"
    assert entry(client, second).data.params == {"model": "4c5-8f"}
    assert steps(client, first) == [0]
    status, said = synced(capsys)
    assert status == 1
    assert all(f"run {run.id}: 1 things still wait" in said.replace("2 things", "1 things") for run in (first, second))
    assert [finding.remedy for finding in doctor.unsent()] == ["make sync"] * 2
    assert store.census() == (2, 0)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(200, {}), (302, {"Location": "/health"}), (400, {}), (401, {}), (403, {}), (404, {}), (413, {}), (502, {})],
)
def test_what_a_proxy_answers_is_no_refusal(
    gate: Gate, client: "MlflowClient", file: Path, status: int, headers: dict[str, str]
) -> None:
    """Whatever its status, and whether it is asked for numbers or for files: all of it is sent when it is gone."""
    (file.parent / "two.csv").write_text("two")
    with begun() as run:
        tell(run, 0)
        run.log_file(file)
        gate.answer(status, **headers)
        tell(run, 1)
        run.log_tags({"method": "exemplar"})
        run.log_file(file.parent / "two.csv")
        gate.open()
        tell(run, 2)
    assert entry(client, run).data.tags["method"] == "exemplar"
    assert sorted(steps(client, run)) == [0, 1, 2]
    assert artifacts(client, run) == ["curve.csv", "two.csv"]
    assert not outage.pending()


def test_a_file_counts_as_sent_when_the_server_lists_it(
    gate: Gate, client: "MlflowClient", file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A login page answers an upload with 200; the run ends all the same, and the file is sent later."""
    with begun() as run:
        gate.answer(200, to="PUT")
        run.log_file(file, folder="curves")
    assert "does not list the artifact curves/curve.csv after its upload" in capsys.readouterr().err
    entry(client, run)
    gate.open()
    assert synced(capsys) == (0, f"run {run.id} is sent\n")
    assert [found.path for found in client.list_artifacts(run.id, "curves")] == ["curves/curve.csv"]


def test_a_file_that_is_too_large_for_a_proxy_holds_back_no_other(
    gate: Gate, client: "MlflowClient", file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits alone, and the line says whose limit it is."""
    large = file.parent / "state.pt"
    large.write_bytes(b"x" * 100_000)
    gate.answer(413, above=50_000)
    with begun() as run:
        run.log_file(large)
        run.log_file(file)
    assert artifacts(client, run) == ["curve.csv"]
    assert "raise that limit" in capsys.readouterr().err
    entry(client, run)
    status, told = synced(capsys)
    assert (status, f"run {run.id}: 1 things still wait" in told) == (1, True)
    gate.open()
    assert synced(capsys)[0] == 0
    assert artifacts(client, run) == ["curve.csv", "state.pt"]


def test_a_password_that_expires_in_the_middle_loses_nothing(
    gate: Gate, client: "MlflowClient", file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says what to set; until then `make sync` is refused in one line without a secret."""
    with begun() as run:
        tell(run, 0)
        gate.answer(401, "You are not authenticated.")
        tell(run, 1)
    told = capsys.readouterr().err
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD anew" in told
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_USERNAME") as refused:
        sync.send()
    assert "hunter2" not in told + str(refused.value)
    gate.open()
    assert synced(capsys)[0] == 0
    assert steps(client, run) == [0, 1]
    entry(client, run)


def test_a_user_who_may_only_read_is_told_so_and_reads(gate: Gate) -> None:
    """No run can start; doctor and whoever fetches an encoder find the experiment all the same."""
    store.connect(store.address())
    gate.answer(403, "Permission denied", to="POST /api/2.0/mlflow/runs/create")
    with pytest.raises(UserError, match="this user may not write there: ask for the right"), begun():
        pytest.fail("the work must not start")
    gate.answer(403, "Permission denied", to="set-experiment-tag")
    assert store.census() == (0, 0)


def test_a_header_does_not_stop_a_run(gate: Gate) -> None:
    """`Retry-After` may name hours."""
    with begun() as run:
        gate.answer(429, Retry_After="3600")
        started = time.monotonic()
        tell(run, 0)
        assert time.monotonic() - started < 60
        gate.open()


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_server_that_drips_has_a_deadline(
    gate: Gate, client: "MlflowClient", file: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    """A byte now and then answers in time and never ends; Ctrl-C does not wait for it longer than the work does."""
    with suppress(KeyboardInterrupt), begun() as run:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        gate.answer(DRIP)
        started = time.monotonic()
        if interrupted:
            raise KeyboardInterrupt
        tell(run, 0)
        run.log_file(file)
        assert run.next_send - time.monotonic() > 50
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        gate.open()
    assert time.monotonic() - started < 25  # 10 hours until the last byte
    gate.open()
    assert client.get_run(run.id).info.status == ("RUNNING" if interrupted else "FINISHED")
    assert len(outage.pending()) == interrupted


def test_what_is_sent_does_not_wait_for_what_is_not(
    gate: Gate, client: "MlflowClient", capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a server that answers one request in three, each `make sync` takes something off the disk."""
    with begun() as run:
        gate.answer(500, to="POST")
        for step in range(4):
            tell(run, step)
    waiting = len(outage.pending()[0].files())
    assert waiting == 5
    gate.answer(500, to="log-batch", but=3)
    for _ in range(8):
        if synced(capsys)[0] == 0:
            break
        left = len(outage.pending()[0].files())
        assert left <= waiting
        waiting = left
    assert steps(client, run) == [0, 1, 2, 3]
    entry(client, run)


def test_what_the_server_itself_refuses_is_told_and_forgotten(
    gate: Gate, client: "MlflowClient", capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that somebody deleted for good, by the error code in MLflow's own answer."""
    with begun() as run:
        gate.answer(404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}), to="log-batch")
        tell(run, 0)
        gate.open()
    assert "no run (it was refused for good)" in capsys.readouterr().err
    assert steps(client, run) == []
    assert not outage.pending()


def test_a_run_whose_end_waits_is_not_closed_by_another_repository(
    gate: Gate,
    client: "MlflowClient",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its process is gone, but its repository still has to say how it ended."""
    with begun() as run:
        host, namespace, _, start, root = client.get_run(run.id).data.tags["process"].split(" ", 4)
        client.set_tag(run.id, "process", f"{host} {namespace} 4194305 {start} {root}")
        gate.answer(502, to="POST")
    gate.open()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    with begun():
        assert client.get_run(run.id).info.status == "RUNNING"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert synced(capsys)[0] == 0
    entry(client, run)


def test_a_reason_that_was_wrong_is_taken_back(gate: Gate, client: "MlflowClient") -> None:
    """Somebody took a living process for a dead one; at its end the run says how it ended, and nothing else."""
    with begun() as run:
        client.set_tag(run.id, "reason", store.ORPHANED)
        client.set_terminated(run.id, "KILLED")
    entry(client, run)


def test_an_end_that_waits_is_forgotten_when_the_run_goes_on(
    gate: Gate, client: "MlflowClient", tmp_path: Path
) -> None:
    """Otherwise an interrupted run would be shown as killed after it ended well."""
    marker = tmp_path / "unfinished"
    with suppress(KeyboardInterrupt), begun(marker) as first:
        gate.answer(502, to="POST")
        raise KeyboardInterrupt
    gate.answer(502, to="set-tag")
    with begun(marker) as second:
        assert second.id == first.id
        assert not second.spool.waits
    entry(client, second)


def test_the_last_numbers_are_sent_before_the_end(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two leaves a run that somebody goes on with, not one that is finished without them."""
    sent: list[str] = []
    with begun() as run:
        send = run.sender.send
        monkeypatch.setattr(run.sender, "send", lambda run_id, what: (sent.append(what["kind"]), send(run_id, what)))
        run.next_send = float("inf")
        run.log_metrics({"loss": 1.0}, step=1)
    assert sent == ["batch", "end"]


def test_a_part_that_is_left_alone_costs_no_memory(gate: Gate, client: "MlflowClient") -> None:
    """The error that stands for all tries does not hold what they would have sent."""
    sender = Sender(client)
    sender.leave_alone(NUMBERS, TimeoutError("slow"), seconds=60.0)
    lengths = []
    for _ in range(3):
        with pytest.raises(TimeoutError, match="slow") as raised:
            sender.send("0123", {"kind": "batch"})
        lengths.append(len(raised.traceback))
    assert len(set(lengths)) == 1


def test_numbers_stay_in_memory_until_the_store_or_the_disk_has_them(
    gate: Gate, client: "MlflowClient", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither takes them for a while: one warning, and none is missing at the end."""
    with begun() as run:
        gate.answer(502)
        (tmp_path / ".spool").write_text("no folder")
        for step in range(3):
            tell(run, step)
        gate.open()
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "it stays in memory, .spool cannot keep it" in told
    assert steps(client, run) == [0, 1, 2]
    entry(client, run)


def test_what_is_lost_is_counted(gate: Gate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where neither the store nor the disk takes anything until the end, the last line says so."""
    with begun() as run:
        gate.answer(502)
        (tmp_path / ".spool").write_text("no folder")
        tell(run, 0)
    assert f"2 things of run {run.id} are lost, neither MLflow nor .spool could take them" in capsys.readouterr().err


def test_the_experiment_that_the_environment_names_is_used(gate: Gate, client: "MlflowClient") -> None:
    """A team's own note in it stays; the table of all evaluations is added."""
    number = client.create_experiment(store.experiment_name(), tags={"mlflow.note.content": "ours"})
    with begun() as run:
        assert run.experiment == number
    tags = client.get_experiment(number).tags
    assert tags["mlflow.note.content"] == "ours"
    assert "mlflow.sharedViewState.exemplar" in tags


@pytest.fixture
def spool(gate: Gate, client: "MlflowClient", file: Path) -> outage.Spool:
    """What a run with a tag, a file and its end left on the disk."""
    with begun() as run:
        gate.answer(502)
        run.log_tags({"method": "exemplar"})
        run.log_file(file)
    gate.open()
    return run.spool


STRANGE = {
    "null": "null",
    "a number": "5",
    "brackets": "[" * 100_000,
    "zeros": "\0\0\0\0",
    "no store": '{"kind": "end"}',
    "an unknown kind": '{"kind": "new", "store": "STORE"}',
    "a missing key": '{"kind": "end", "store": "STORE"}',
    "a bad metric": '{"kind": "batch", "store": "STORE", "metrics": [["loss"]]}',
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_a_strange_line_is_named_and_holds_nothing_else_back(
    spool: outage.Spool, client: "MlflowClient", text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor counts it, the next run starts, and removing its file forgets it."""
    file = spool.folder / "00000000.json"
    file.write_text(text.replace("STORE", spool.store))
    assert len(list(doctor.unsent())) == 1
    with begun():
        pass
    assert client.get_run(spool.run_id).info.status == "FINISHED"
    assert spool.files() == [file]
    status, told = synced(capsys)
    assert status == 1
    assert str(file) in told or "no operation is called 'new'" in told
    file.unlink()
    assert synced(capsys) == (0, "nothing waits\n")


def test_a_pipe_in_the_spool_holds_nothing_back(spool: outage.Spool, capsys: pytest.CaptureFixture[str]) -> None:
    """It might never say anything, and is named like what cannot be read."""
    os.mkfifo(spool.folder / "00000000.json")
    status, told = synced(capsys)
    assert status == 1
    assert "00000000.json cannot be read (it is no file but a pipe, a socket or a device)" in told
    assert [file.name for file in spool.files()] == ["00000000.json"]


def test_what_waits_of_another_user_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repository that several share, each sends his own; a run whose end may wait there is not closed."""
    with as_somebody() as shared:
        (shared / ".spool" / "4567").mkdir(parents=True)
        (shared / ".spool" / "4567").chmod(0)
        monkeypatch.setenv("DVC_ROOT", str(shared))
        host, namespace, number, start, root = owners.owner().split(" ", 4)
        assert outage.pending() == []
        assert not owners.is_gone(f"{host} {namespace} {number} {float(start) - 60} {root}", run_id="4567")
        (shared / ".spool" / "4567").chmod(0o700)


@pytest.mark.parametrize("link", ["", "file", "folder"])
def test_only_what_lies_in_the_spool_is_sent(
    spool: outage.Spool, client: "MlflowClient", tmp_path: Path, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repository that was copied may bring a spool that names any file of its new owner."""
    (tmp_path / "id_rsa").write_text("secret")
    planted = {"kind": "file", "store": spool.store, "folder": "", "path": str(tmp_path / "id_rsa")}
    (spool.folder / "00000099.json").write_text(json.dumps(planted))
    if link == "folder":
        (spool.folder / "00000099").symlink_to(tmp_path)
    if link == "file":
        (spool.folder / "00000099").mkdir()
        (spool.folder / "00000099" / "id_rsa").symlink_to(tmp_path / "id_rsa")
    _, told = synced(capsys)
    assert ("its file is a link" in told, "is gone, so it cannot be sent" in told) == (bool(link), not link)
    assert "id_rsa" not in [found.path for found in client.list_artifacts(spool.run_id)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("x"), True),
        (TimeoutError("API request"), False),
        (ValueError("no JSON"), False),
    ],
)
def test_only_mlflow_and_our_own_checks_refuse_for_good(error: Exception, said: bool) -> None:
    """All else may be a proxy's, a network's or this machine's, which may be mended."""
    assert operations.refused(error) is said
