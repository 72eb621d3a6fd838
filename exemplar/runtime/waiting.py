"""Calls of libraries that may never return, made in a thread that is left behind."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any


def within(seconds: float, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # whatever it returns
    """What a call returns, made in a thread that is left behind when it takes longer; then raises TimeoutError.

    Ctrl-C and SIGTERM end the waiting at once.
    """
    answer = Future[Any]()

    def work() -> None:
        try:
            answer.set_result(call(*arguments, **named))
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise TimeoutError(f"no whole answer within {seconds:.0f} seconds") from None
