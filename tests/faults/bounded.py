"""A call in a process of its own that may take no more memory and time than it is given."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from exemplar.errors import UserError

PAGE_BYTES = resource.getpagesize()


def told(call: Callable[[], object], *, megabytes: int, seconds: int) -> str:
    """The line of the UserError that a call ends with, or nothing where it gives a result.

    It runs in a fork, whose address space may grow by `megabytes` and whose processor time by `seconds`; what ends it
    in any other way fails the test.
    """
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = "nothing was said"
        try:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (taken + (megabytes << 20),) * 2)
            used = time.process_time()
            resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds + 1,) * 2)
            call()
            said = ""
        except UserError as error:
            said = str(error) or "an empty line"
        except BaseException as error:
            said = f"escaped: {type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode(errors="replace")[:30_000])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"ended by signal {status & 127}, as too much time does"
    assert not said.startswith("escaped: "), said
    return said
