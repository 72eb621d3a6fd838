"""The file of an SQLite store: made in one piece, and followed where the repository is moved."""

import sqlite3
from contextlib import closing
from pathlib import Path

from exemplar.errors import UserError

SECONDS_FOR_THE_LOCK = 120.0
ARTIFACTS = "mlartifacts"  # where a database's artifacts lie, in the user's repository
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def make_database(file: Path) -> None:
    """Make the tables in another file and rename it: MLflow cannot repair a database whose creation was interrupted.

    Raises UserError for a path that is no file, such as a device: a database would take its place.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"{file} is no file; expected a database of MLflow, or a path where none is yet")
    if file.exists() and file.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = file.with_name(f"{file.name}.unfinished")
    for left in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        left.unlink(missing_ok=True)
    artifacts = file.with_name(ARTIFACTS).as_uri()
    database = SqlAlchemyStore(f"sqlite:///{unfinished}", artifacts)  # type: ignore[no-untyped-call]  # no types
    database.engine.dispose()
    unfinished.replace(file)


def follow_move(file: Path, before: str) -> None:
    """Correct the artifact addresses in the repository's own database after the repository was moved.

    MLflow stores absolute addresses and has no call that changes them, so it would read and write in the old folder.
    """
    now = file.with_name(ARTIFACTS)
    if before == now.as_uri() or Path(before).name != ARTIFACTS or not now.is_dir():
        return
    with closing(sqlite3.connect(file, timeout=SECONDS_FOR_THE_LOCK)) as database, database:
        for table, column in ADDRESSES:
            database.execute(
                f"UPDATE {table} SET {column} = :now || substr({column}, length(:before) + 1)"  # noqa: S608  # names of ours
                f" WHERE substr({column} || '/', 1, length(:before) + 1) = :before || '/'",
                {"before": before, "now": now.as_uri()},
            )
