"""MLflow's client with an end: no call lasts longer than it is given, whatever a server sends and however slowly."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exemplar.io.integrity import size
from exemplar.runtime.waiting import within

if TYPE_CHECKING:
    from mlflow import MlflowClient

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # MLflow's own: seconds for the next byte, so a server that drips has no end
TRIES = 2  # MLflow's first and its one retry
SLOWEST_UPLOAD = 250_000  # bytes a second


class Timely:
    """A client of MLflow that raises TimeoutError where a call takes twice MLflow's timeout, and more for its files."""

    def __init__(self, client: "MlflowClient") -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """MLflow's method of this name, with a deadline; of its arguments those that are paths are what it uploads."""
        method = getattr(self.client, name)

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # whatever MLflow takes and returns
            sent = sum(size(Path(each)) for each in arguments if name.startswith("log_") and isinstance(each, str))
            seconds = TRIES * timeout_seconds() + sent / SLOWEST_UPLOAD
            return within(seconds, method, *arguments, **named)

        return call


def timeout_seconds() -> float:
    """MLflow's own timeout; raises what MLflow raises for a value that is no number, which names the variable."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    return float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())  # type: ignore[no-untyped-call]  # MLflow's
