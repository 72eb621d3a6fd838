"""docs/tutorial.md: its commands work in the order in which they stand there, at toy size."""

import re
import shlex
import time
from pathlib import Path

import pytest
from skimage import data, io
from test_pipeline import CHECKOUT, Copy

# What the set-up would install, and where; a test has both already.
SAME = {"make repro": "dvc repro", "make table": "python -m exemplar table", "source .venv/bin/activate": "true"}
SECONDS_TO_WAIT = 600
pytestmark = [
    pytest.mark.timeout(1200),  # seven pipelines of some twelve stages, of which each imports torch or mlflow
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]


def commands() -> list[str]:
    """The lines of the page that a reader types."""
    page = (CHECKOUT / "docs" / "tutorial.md").read_text()
    return [line for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each command printed, each time that it was typed; all succeeded but the one that asks for an md5."""
    copy, pictures = Copy(tmp_path_factory.mktemp("tutorial") / "exemplar"), tmp_path_factory.mktemp("pictures")
    for name in ("cat", "coffee", "rocket", "astronaut"):
        io.imsave(pictures / f"{name}.png", getattr(data, name)(), check_contrast=False)
    answers: dict[str, list[str]] = {}
    md5 = ""
    for line in commands():
        typed = SAME.get(line, line).replace("PICTURES", str(pictures)).replace("MD5", md5)
        done = copy.call(*shlex.split(typed))
        answers.setdefault(line, []).append(done.stdout + done.stderr)
        asks = "sources.folder.url" in line and "sources.folder.md5" not in line
        assert (done.returncode == 0) != asks, f"{typed}: {answers[line][-1]}"
        if asks:
            (md5,) = re.findall(r"add -S sources\.folder\.md5=([0-9a-f]{32}) ", answers[line][-1])
        if line == "dvc queue status":  # and again, until both say Success, as the page asks for
            wait(copy)
    return answers


def wait(copy: Copy) -> None:
    """Until nothing waits or runs in the queue."""
    end = time.monotonic() + SECONDS_TO_WAIT
    while re.search("Queued|Running", status := copy.call("dvc", "queue", "status").stdout):
        assert time.monotonic() < end, status
        time.sleep(3)


def test_a_picture_is_its_own_nearest_neighbour(printed: dict[str, list[str]]):
    """By the encoder that comes with the package, and by one that was trained on these pictures."""
    for line, answers in printed.items():
        if line.startswith("exemplar neighbours"):
            found = re.findall(r"^([01]\.\d{3})  .*/(\w+)\.png$", answers[-1], re.MULTILINE)
            assert found[0] == ("1.000", "cat"), line
            assert len(found) == 3


def test_the_table_has_every_experiment(printed: dict[str, list[str]]):
    """First those with a name, then those of the queue too, whose seeds are pooled."""
    first, second = printed["make table"]
    assert all(name in first for name in ("mine", "wider", "turned"))
    assert "rotation" in first
    assert all(f"random_seed={seed}" in second for seed in (1, 2))
    assert len(second.splitlines()) > len(first.splitlines()) + 2


def test_every_command_of_the_page_is_one_that_the_copy_knows():
    """What is typed is known to `make help`, or is a program that the set-up installs."""
    targets = (CHECKOUT / "Makefile").read_text()
    for line in commands():
        program, *words = shlex.split(line)
        assert program in {"make", "source", "dvc", "git", "exemplar"}
        assert program != "make" or f"\n{words[0]}: " in targets


def test_the_page_names_files_that_are_there():
    """`tests/test_tutorial.py` among them."""
    page = (CHECKOUT / "docs" / "tutorial.md").read_text()
    assert all((CHECKOUT / name).exists() for name in re.findall(r"`((?:tests|docs)/[\w./]+)`", page))
    assert Path(__file__).name in page
