"""Stages, and DVC itself, that run as forks of a server (forking.py) and can be killed."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil


class Job:
    """A command that runs in a folder as a fork of the server, and what it prints in a file."""

    def __init__(self, server: Path, words: list[str], folder: Path, *, environment: dict[str, str], log: Path) -> None:
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(str(server))
        asked = {"words": words, "folder": str(folder), "environment": environment}
        self.line.sendall(json.dumps(asked).encode() + b"\n")
        with log.open("ab") as file:
            socket.send_fds(self.line, [b"x"], [file.fileno(), file.fileno()])
        self.answers = self.line.makefile("rb")
        self.number, self.cpu_seconds = int(self.answers.readline()), 0.0

    def lasts(self) -> bool:
        """Whether it still runs; the CPU time that it took so far is noted."""
        try:
            times = psutil.Process(self.number).cpu_times()
        except psutil.NoSuchProcess:
            return False
        self.cpu_seconds = max(self.cpu_seconds, times.user + times.system)
        return psutil.pid_exists(self.number)

    def wait(self) -> int:
        """Its status, once it has ended."""
        while self.lasts():
            time.sleep(0.005)
        status = int(self.answers.readline())
        self.line.close()
        return status

    def kill(self, number: signal.Signals, *, after_cpu_seconds: float) -> int:
        """Send it a signal once it has taken so much CPU time, unless it ended before; its status."""
        while self.lasts() and self.cpu_seconds < after_cpu_seconds:
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.kill(self.number, number)
        return self.wait()

    def kill_all(self, number: signal.Signals, *, after_seconds: float) -> int:
        """Send it and what it started a signal after so much time, unless it ended before; its status."""
        end = time.monotonic() + after_seconds
        while self.lasts() and time.monotonic() < end:
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(self.number, number)
        return self.wait()
