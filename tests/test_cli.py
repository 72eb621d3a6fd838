"""How a stage ends."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import stages
from exemplar.errors import UserError
from exemplar.params.schema import SourceSection
from stages import cli
from stages.check import check
from stages.download import Part, download

ROOT = Path(stages.__path__[0]).parent
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if "cli.start" in path.read_text())
PROGRAM = """
from exemplar.errors import UserError
from stages import cli

def command(kind: str, number: int = 0) -> None:
    "Fail in one of several ways."
    if kind == "user":
        raise UserError(f"number is {number}; expected 1")
    if kind == "disk":
        raise OSError(28, "No space left on device", "data/x.npy")
    if kind == "bug":
        raise ValueError("a bug")
    print("done")

cli.start(command)
"""


def run(*arguments: str, code: str = PROGRAM) -> "subprocess.CompletedProcess[str]":
    """Run a program as a stage is run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_a_notebook_s_backend_stops_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a notebook starts gets the name of its backend, which only the notebook's own installation has."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.absent")
    done = run(code="from stages import cli; cli.start(lambda: print(__import__('matplotlib').get_backend()))")
    assert (done.stdout, done.stderr) == ("agg\n", "")


def test_a_users_mistake_is_one_line() -> None:
    """On stderr, exit status 1, no traceback."""
    done = run("user", "--number", "3")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: number is 3; expected 1\n")


def test_a_full_disk_is_one_line() -> None:
    """It names the file and says what to do."""
    done = run("disk")
    assert done.returncode == 1
    assert done.stderr == (
        "error: data/x.npy cannot be written: No space left on device; make room or change its permissions\n"
    )


def test_a_mistake_of_ours_shows_where_it_is() -> None:
    """A traceback is for those who can mend it."""
    done = run("bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: a bug" in done.stderr


def test_a_stage_that_succeeds_says_nothing_more() -> None:
    """Exit status 0."""
    done = run("good")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a library's text, which a message may quote, looks like."""
    with pytest.raises(SystemExit, match="1"):
        cli.fail("cannot read x (first line\n\tsecond line); remove it")
    assert capsys.readouterr().err == "error: cannot read x (first line second line); remove it\n"


def test_only_the_users_part_of_system_errors_is_caught() -> None:
    """A file of ours that is missing is a bug and keeps its traceback."""
    done = run(code=f"from stages import cli\ndef c() -> None:\n    raise OSError({errno.ENOENT}, 'x')\ncli.start(c)")
    assert "Traceback" in done.stderr


def test_memory_that_is_out_is_one_line() -> None:
    """Wherever in a stage, and in whichever words; another error keeps its traceback."""
    code = "from stages import cli\ndef c() -> None:\n    raise RuntimeError({!r})\ncli.start(c)"
    done = run(code=code.format("CUDA error: out of memory"))
    assert done.stderr.startswith("error: there is not enough memory for this work; ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" in run(code=code.format("CUDA error: an illegal memory access was encountered")).stderr


@pytest.mark.parametrize("stage", STAGES)
def test_help_answers_at_once(stage: str) -> None:
    """Before a library of seconds is imported."""
    code = f"""
import runpy, sys
sys.argv = ["stage", "--help"]
try:
    runpy.run_module("stages.{stage}", run_name="__main__")
except SystemExit as end:
    assert not end.code
assert not {{"torch", "mlflow", "numpy", "pandas", "pydantic"}} & set(sys.modules)
"""
    done = run(code=code)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_is_one_line(number: int, status: int, tmp_path: Path) -> None:
    """What must be closed is closed before, and the shell's own status tells which signal it was."""
    code = f"""
import os, signal
from pathlib import Path
from exemplar.io.atomic import replacing
from stages import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has none
def command() -> None:
    "Be interrupted in the middle of writing."
    with replacing(Path({str(tmp_path / "out")!r})) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), {int(number)})
        raise AssertionError("not interrupted")
cli.start(command)
"""
    done = run(code=code)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == "interrupted; the same command goes on from what was kept\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place", ["data/labeled/folder", "data/unlabeled", "results/../data/labeled/folder/cats", "link"]
)
def test_a_source_that_lies_where_stages_write_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage would remove the pictures, whose place the arrays take; elsewhere in data they are safe."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    published = (ROOT / "params.yaml").read_text()
    content = published.replace("/absolute/path/to/pictures", str(tmp_path / place))
    (tmp_path / "params.yaml").write_text(content)
    pictures = tmp_path / "data" / "labeled" / "folder"
    pictures.mkdir(parents=True)
    (tmp_path / "link").symlink_to("data/labeled/folder")
    (tmp_path / "loop").symlink_to("loop")
    for begin in (check, lambda: download(Part.LABELED, "folder")):
        with pytest.raises(UserError, match=r"sources\.folder names .*, which lies in data/.* move it elsewhere"):
            begin()
    for url in ("data/pictures", "pictures", "data/labeled_before", "loop"):
        cli.require_apart({"folder": SourceSection(url=str(tmp_path / url), mirrors=[], md5=None, options={})})
    with pytest.raises(UserError, match=r"sources\.folder names file:.*, which lies in data/labeled"):
        cli.require_apart({"folder": SourceSection(url=None, mirrors=[pictures.as_uri()], md5=None, options={})})
