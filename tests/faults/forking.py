"""A process that has imported everything once and starts stages, and DVC itself, as forks: a kill costs no import.

`python forking.py SOCKET` serves; `python -S forking.py SOCKET WORDS...` has WORDS run there, in its own folder and
environment, passes signals on, and ends as they end. When the asking process is killed, so is what it asked for.
"""

import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any


def ask(place: str, words: list[str]) -> int:
    """Have a command run and wait for it; its status."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        asked = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109  # no imports
        line.sendall(json.dumps(asked).encode() + b"\n")
        socket.send_fds(line, [b"x"], [1, 2])
        answers = line.makefile("rb")
        child = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(child, number))
        return int(answers.readline() or b"137")


def serve(place: str) -> None:
    """Answer until killed."""
    prepare()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os._exit(attend(line))
            line.close()


def attend(line: socket.socket) -> int:
    """Fork the command, tell its number, and kill it when whoever asked is gone."""
    request = b""
    while not request.endswith(b"\n"):
        request += line.recv(1)
    _, descriptors, _, _ = socket.recv_fds(line, 1, 2)
    asked = json.loads(request)
    ending, ended = os.pipe()
    child = os.fork()
    if child == 0:
        line.close()
        os.close(ending)
        os.setsid()
        for descriptor, standard in zip(descriptors, (1, 2), strict=True):
            os.dup2(descriptor, standard)
        os._exit(work(asked))
    os.close(ended)
    with suppress(OSError):  # whoever asked is gone already; its end of the line says so below
        line.sendall(f"{child}\n".encode())
    ready, _, _ = select.select([line, ending], [], [])
    if ending not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):
        line.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
    return 0


def work(asked: dict[str, Any]) -> int:
    """Run a stage, or DVC, as the shell would."""
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name, *arguments = asked["words"]
    sys.argv = [name, *arguments]
    try:
        if name == "dvc":
            from dvc.cli import main

            return main(arguments)
        from stages import cli

        names = {"seeds": "cut", "invariance": "measure"}
        cli.start(getattr(import_module(f"stages.{name}"), names.get(name, name)))
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def prepare() -> None:
    """Import what stages and DVC import."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}
    ours = (
        "tracking.runs",
        "training.loop",
        "finetune",
        "probe.protocol",
        "invariance",
        "report.gallery",
        "report.page",
    )
    theirs = ("mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "mlflow.tracking", "sklearn.svm")
    dvcs = ("dvc.cli", "dvc.repo", "dvc.stage", "dvc.commands.repro", "dvc.commands.experiments.run", "dvc.render")
    for name in (*(f"exemplar.{one}" for one in ours), *theirs, *dvcs):
        import_module(name)
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
