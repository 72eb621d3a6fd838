"""The JSON file of the measurements, which is written whole after every number."""

import gc
import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from json import dumps
from pathlib import Path
from typing import Any

from benchmarks.gpu.bounds import Overdue, interrupted_after
from benchmarks.gpu.session import Row, Session, Works, line, skipped
from benchmarks.measure import LackingError
from exemplar.errors import UserError, one_line
from exemplar.io.atomic import replacing
from exemplar.runtime.device import enough_memory

SHARED = "end what else takes memory there"  # where nothing that can be lowered takes much

END_OF_PROGRESS = " s left"  # exemplar/runtime/progress.py


@dataclass
class Record:
    """What is known, and where it is written."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        """Replace the file by what is known now."""
        with replacing(self.path) as temporary:
            temporary.write_text(dumps(as_json(self.content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def as_json(value: Any) -> Any:  # noqa: ANN401  # whatever a row holds
    """The same with null for a number that is not finite, which JSON lacks; its name stands under `told` beside it."""
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        told = {key: str(each) for key, each in value.items() if is_no_number(each)}
        return {key: as_json(each) for key, each in value.items()} | ({"told": told} if told else {})
    return None if is_no_number(value) else value


def is_no_number(value: object) -> bool:
    """Whether it is NaN or infinite."""
    return isinstance(value, float) and not math.isfinite(value)


class Part:
    """Rows, failures, and of each piece its seconds and what it said; all are written as they come."""

    def __init__(self, name: str, session: Session, record: Record) -> None:
        self.name, self.session, self.record, self.started = name, session, record, time.perf_counter()
        self.rows: list[Row] = []
        self.failed: list[dict[str, str]] = []
        self.pieces: dict[str, dict[str, Any]] = {}
        self.content = {"seconds": 0.0, "rows": self.rows, "failed": self.failed, "pieces": self.pieces}
        record.content["parts"][name] = self.content
        print(f"{name}:", flush=True)

    def write(self) -> None:
        """With the time that it took so far."""
        self.content["seconds"] = time.perf_counter() - self.started
        self.record.write()

    def keep(self, row: Row) -> None:
        """Write a row, with the card beside its number, and print it."""
        self.rows.append(row | {"device": self.record.content["card"]})
        self.write()
        print(f"  {line(row)}", flush=True)

    def fail(self, piece: str, error: Exception) -> None:
        """Write a failure, and print it."""
        self.failed.append(failure(piece, error))
        self.write()
        print(f"  {piece}: failed: {self.failed[-1]['error']}", flush=True)

    def measure(self, works: Works) -> None:
        """All pieces that time is left for; nothing that happens in one keeps the next from being measured."""
        self.write()
        try:
            for piece, work in works:
                if self.session.left > 0:
                    self.do(piece, work)
                else:
                    self.keep(skipped(piece, f"the {self.session.seconds_in_all:.0f} s of --seconds were over"))
        except LackingError as error:
            self.keep(skipped(self.name, error))
        except Exception as error:  # nor may a piece that cannot begin end the others
            self.fail(self.name, error)

    def do(self, piece: str, work: Callable[[], Iterator[Row]]) -> None:
        """Keep the rows of a piece, and what keeps it from giving more."""
        started, said = time.perf_counter(), StringIO()
        lacking = enough_memory(f"{piece}; {SHARED}")
        try:
            with redirect_stderr(said), interrupted_after(self.session.left), lacking:
                self.session.release()
                for row in work():
                    self.keep(row)
        except Overdue:
            self.keep(skipped(piece, f"the {self.session.seconds_in_all:.0f} s of --seconds ended it"))
        except Exception as error:  # a card that was never met may fail in any way
            self.fail(piece, error)
        told = [each for each in said.getvalue().splitlines() if not each.endswith(END_OF_PROGRESS)]
        self.pieces[piece] = {"seconds": time.perf_counter() - started, "said": told}
        self.write()
        gc.collect()  # a failure's frames hold the memory that was too little


def failure(piece: str, error: Exception) -> dict[str, str]:
    """What a failure was, in one line; where it is not the user's, with all that helps to find it from afar."""
    known = isinstance(error, UserError | LackingError)
    told = {"piece": piece, "error": one_line(str(error) if known else f"{type(error).__name__}: {error}")}
    return told if known else told | {"traceback": "".join(traceback.format_exception(error))}
