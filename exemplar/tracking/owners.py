"""Which process a run belongs to, and whether that process is gone."""

import os
import re
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from exemplar.io import provenance
from exemplar.io.atomic import is_alive

TAG = "process"
SPOOLS = ".spool"
NAMED = re.compile(r"(?P<where>\S+ \S+) (?P<number>\d{1,7}) (?P<start>\d{1,12}\.\d+) (?P<repository>/.*)", re.DOTALL)


def owner() -> str:
    """Host, PID namespace, number and start time of this process, which no other has, and the user's repository."""
    started = f"{os.getpid()} {seconds_since_boot(psutil.Process()):.2f}"
    return f"{here()} {started} {provenance.user_repository().absolute()}"


def here() -> str:
    """The host and the PID namespace, without which two containers with one host name would share their numbers."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        namespace = "-"
    return f"{socket.gethostname()} {namespace}"


def seconds_since_boot(process: psutil.Process) -> float:
    """When a process started, counted from boot, so that setting the clock does not change it."""
    return process.create_time() - psutil.boot_time()


def waiting(folder: Path) -> list[Path]:
    """The operations that a spool's folder holds, in order; none of what a kill left half-written there."""
    with suppress(FileNotFoundError, NotADirectoryError):  # another process may have just removed the folder
        return sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.stem.isdecimal())
    return []


def is_gone(process: str, *, run_id: str) -> bool:
    """Whether the process that `owner` named ran here and has ended, and left nothing of its run to be sent.

    False for one of another host or PID namespace, for one that this user may not see, and for a text that is not
    `owner`'s: of these nothing is known. One that has ended without its parent's notice is gone.
    """
    named = NAMED.fullmatch(process)
    if named is None or named["where"] != here():
        return False
    try:
        if waiting(Path(named["repository"]) / SPOOLS / run_id):
            return False
        found = psutil.Process(int(named["number"]))
        return found.status() == psutil.STATUS_ZOMBIE or abs(seconds_since_boot(found) - float(named["start"])) > 1
    except psutil.NoSuchProcess:
        return not is_alive(int(named["number"]))  # /proc may hide it, where it is mounted with hidepid
    except (OSError, psutil.AccessDenied):  # the spool, or the process, is another user's
        return False


def is_elsewhere(process: str) -> bool:
    """Whether a run is of another repository here, of which this one is a copy, and not of this one before it moved."""
    named = NAMED.fullmatch(process)
    if named is None or named["where"] != here():
        return False
    other = Path(named["repository"])
    return other.is_dir() and not other.samefile(provenance.user_repository())
