"""MLflow's own names, passwords and rights, for which test_half_there.py has a proxy's answers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import served

from exemplar.errors import UserError
from exemplar.tracking import outage, runs, store
from stages import sync

pytest.importorskip("flask_wtf")  # of mlflow[auth]
pytestmark = pytest.mark.filterwarnings(
    "ignore:starlette.middleware.wsgi is deprecated", "ignore:The ``noload`` loader strategy:DeprecationWarning"
)
PASSWORDS = {"admin": "hunter2-of-admin", "anna": "hunter2-of-anna", "bert": "hunter2-of-bert"}
SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{}/auth.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""
LogIn = Callable[..., None]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for names: whoever makes an experiment may write there, all others may read."""
    folder = tmp_path_factory.mktemp("auth")
    (folder / "auth.ini").write_text(SETTINGS.format(folder))
    with served(
        "__import__('mlflow.server.auth').server.auth.create_app()",
        folder,
        MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"),
        MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORDS["admin"],
        MLFLOW_FLASK_SERVER_SECRET_KEY="key",
    ) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def log_in(address: str, patience: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogIn:
    """Be another user of the server from now on."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)

    def become(name: str, password: str | None = None) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password or PASSWORDS[name])

    return become


@pytest.fixture(scope="module")
def admin(address: str) -> Any:
    """Who may make users and change what they may do."""
    from mlflow.server import get_app_client

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        environment.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS["admin"])
        client = get_app_client("basic-auth", address)
        for name in ("anna", "bert"):
            client.create_user(name, PASSWORDS[name])
    return client


def tell(run: runs.Run, step: int, file: Path) -> None:
    """Log a number now, and a file."""
    run.next_send = 0
    run.log_metrics({"loss": float(step)}, step=step)
    file.write_text("epoch,loss\n")
    run.log_file(file, folder=str(step))


def arrived(run: runs.Run) -> tuple[str, list[int], list[str]]:
    """How the run ended, its steps, and the folders of its files."""
    client, _ = store.connect(store.address())
    steps = [point.step for point in client.get_metric_history(run.id, "loss")]
    folders = [file.path for file in client.list_artifacts(run.id) if file.is_dir]
    return client.get_run(run.id).info.status, steps, folders


def test_a_password_that_is_changed_in_the_middle_loses_nothing(
    admin: Any,
    log_in: LogIn,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the new one `make sync` sends what waits, and until then it says what to set."""
    log_in("anna")
    with runs.run(stage="train", name="exemplar", parameters={}, inputs=[]) as run:
        tell(run, 0, tmp_path / "curve.csv")
        log_in("admin")
        admin.update_user_password("anna", "another-hunter2")
        log_in("anna")
        tell(run, 1, tmp_path / "curve.csv")
    told = capsys.readouterr().err
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD anew; it is kept" in told
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_USERNAME") as refused:
        sync.send()
    assert "hunter2" not in told + str(refused.value)
    log_in("anna", "another-hunter2")
    sync.send()
    assert arrived(run) == ("FINISHED", [0, 1], ["0", "1"])


def test_a_user_who_may_only_read_is_told_so_and_reads_all(
    admin: Any,
    log_in: LogIn,
    tmp_path: Path,
) -> None:
    """His own run does not start; the runs of others, their numbers and files are there."""
    log_in("admin")
    with runs.run(stage="train", name="exemplar", parameters={}, inputs=[]) as run:
        tell(run, 0, tmp_path / "curve.csv")
    log_in("bert")
    with (
        pytest.raises(UserError, match="this user may not write there: ask for the right to edit the experiment"),
        runs.run(stage="train", name="exemplar", parameters={}, inputs=[]),
    ):
        pytest.fail("the work must not start")
    assert store.census() == (1, 0)
    assert arrived(run) == ("FINISHED", [0], ["0"])


def test_a_right_that_is_taken_in_the_middle_loses_nothing(
    admin: Any,
    log_in: LogIn,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line says what to ask for, and what waits is sent once the right is there again."""

    def grant(permission: str) -> None:
        log_in("admin")
        admin.revoke_user_permission("bert", "experiment", run.experiment)
        admin.grant_user_permission("bert", "experiment", run.experiment, permission)
        log_in("bert")

    log_in("bert")
    with runs.run(stage="train", name="exemplar", parameters={}, inputs=[]) as run:
        grant("READ")
        tell(run, 0, tmp_path / "curve.csv")
    assert (
        "this user may not write there: ask for the right to edit the experiment; it is kept" in capsys.readouterr().err
    )
    assert len(outage.pending()) == 1
    grant("EDIT")
    sync.send()
    assert arrived(run) == ("FINISHED", [0], ["0"])
