"""The command `exemplar`."""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import exemplar
from exemplar import __main__ as command
from exemplar.use import tables
from exemplar.use.loaded import load_encoder
from exemplar.use.pictures import find

ROOT = Path(exemplar.__path__[0]).parent


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


class Shell:
    """Calls the command in this process, as a shell does in another: that would import torch again each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["exemplar", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            command.main()
        printed = self.capsys.readouterr()
        return Done(int(end.value.code or 0), printed.out, printed.err)

    def told(self, *words: object) -> str:
        """The one line about a mistake; nothing is on stdout."""
        done = self(*words)
        assert (done.status, done.stdout) == (1, ""), done
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in done.stderr
        return line


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_help_answers_at_once() -> None:
    """In less than 0.3 seconds of the processor's time, without a library of seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "exemplar", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "mlflow", "numpy", "pandas", "pydantic", "rich"})
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3
    for name in ("features", "neighbours", "describe", "export", "table"):
        assert f"  {name}" in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2], "every summary is whole"


def test_the_version_is_printed(run: Shell) -> None:
    """As the package has it."""
    assert run("--version") == Done(0, f"{exemplar.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "named"),
    [("nosuch", "nosuch"), ("features", "pictures"), ("describe 8c5-8f --side abc", "--side"),
     ("neighbours a b --count 0", "--count"), ("export --out", "--out")],
)  # fmt: skip
def test_what_the_command_line_refuses_ends_with_status_2(run: Shell, words: str, named: str) -> None:
    """The last of up to four lines names what is wrong, as docs/pictures.md says."""
    done = run(*words.split())
    assert (done.status, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) <= 4
    assert named in done.stderr.splitlines()[-1]


def test_features_of_a_folder_are_those_of_the_library(
    run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path
) -> None:
    """A row per picture in the order of their names; the answer for programs is on stdout, progress on stderr."""
    out = tmp_path / "f.npy"
    done = run("features", pictures, "--encoder", encoder_file, "--out", out, "--side", 40, "--json")
    answer = {"out": str(out), "pictures": 5, "features": 64, "model": "4c5-4c5-8f", "skipped": []}
    assert json.loads(done.stdout) == answer, done.stderr
    assert "5/5 pictures" in done.stderr
    paths = find([pictures])
    assert out.with_suffix(".txt").read_text().splitlines() == list(map(str, paths))
    np.testing.assert_allclose(np.load(out), load_encoder(encoder_file).features(paths, side=40), rtol=1e-5)


def test_parquet_holds_the_same(run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path) -> None:
    """Two columns, which pandas reads; both files are searched alike."""
    import pandas as pd

    for name in ("f.npy", "f.parquet"):
        assert not run("features", pictures, "--encoder", encoder_file, "--out", tmp_path / name).status
    frame = pd.read_parquet(tmp_path / "f.parquet")
    np.testing.assert_array_equal(np.stack(list(frame["features"])), np.load(tmp_path / "f.npy"))
    assert frame["picture"].tolist() == (tmp_path / "f.txt").read_text().splitlines()
    for one, other in zip(tables.load(tmp_path / "f.npy"), tables.load(tmp_path / "f.parquet"), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
    searches = [
        run("neighbours", pictures / "b.png", among, "--encoder", encoder_file, "--count", 2, "--json").stdout
        for among in (pictures, tmp_path / "f.npy", tmp_path / "f.parquet")
    ]
    answers = [[one["picture"] for one in json.loads(search)] for search in searches]
    assert answers[0][0] == str(pictures / "b.png")
    assert answers[0] == answers[1] == answers[2]


def test_names_of_any_bytes_are_printed(run: Shell, pictures: Path, encoder_file: Path) -> None:
    """Also those that are no text, or that would move a terminal's cursor; in JSON they stay what they are."""
    (pictures / "a.png").rename(pictures / "\udcff.png")
    (pictures / "b.png").rename(pictures / "\x1b[31m\nb.png")
    done = run("neighbours", pictures / "c.webp", pictures, "--encoder", encoder_file)
    assert done.status == 0
    assert len(done.stdout.splitlines()) == 5
    assert all(line.isprintable() for line in done.stdout.splitlines())
    told = json.loads(run("neighbours", pictures / "c.webp", pictures, "--encoder", encoder_file, "--json").stdout)
    assert str(pictures / "\udcff.png") in [one["picture"] for one in told]


def test_features_of_another_encoder_or_side_are_not_searched(
    run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path
) -> None:
    """They are as many numbers, and similarities between them mean nothing."""
    search = ("neighbours", pictures / "b.png", tmp_path / "f.npy", "--encoder", encoder_file)
    assert not run("features", pictures, "--encoder", encoder_file, "--side", 64, "--out", tmp_path / "f.npy").status
    assert not run(*search, "--side", 64).status
    assert "than this encoder gives at this side and these cells; pass those that made it" in run.told(*search)
    told = run.told(*search, "--side", 64, "--cells", 1)
    assert (
        "are 64 wide, the picture's 16: they were made with another encoder, or other --cells or --side; pass" in told
    )


def test_an_encoder_is_exported(run: Shell, encoder_file: Path, tmp_path: Path) -> None:
    """How far the file's answers are from the encoder's is told; a file that is there, and another ending, are too."""
    out, words = tmp_path / "e.pt2", ("export", "--encoder", encoder_file, "--side", 48, "--out")
    told = json.loads(run(*words, out, "--json").stdout)
    assert (told["out"], told["model"], told["side"]) == (str(out), "4c5-4c5-8f", 48)
    assert told["largest_difference"] < 1e-4
    assert "e.pt2 is there already" in run.told(*words, out)
    assert run(*words, out, "--overwrite").stdout.startswith(f"{out}: images [n 3 48 48] to features; run once, ")
    assert run.told(*words, tmp_path / "e.pb").endswith("expected a name that ends in .onnx or .pt2")


def test_nothing_is_overwritten_unasked(run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path) -> None:
    """Neither the features nor the list of names."""
    words = ("features", pictures, "--encoder", encoder_file, "--out")
    (tmp_path / "f.npy").write_text("mine")
    assert run.told(*words, tmp_path / "f.npy").endswith(
        "f.npy is there already; choose another --out, or pass --overwrite"
    )
    (tmp_path / "g.txt").write_text("mine")
    assert "g.txt is there already" in run.told(*words, tmp_path / "g.npy")
    assert not run(*words, tmp_path / "f.npy", "--overwrite").status
    assert np.load(tmp_path / "f.npy").shape == (5, 64)


def test_no_folder_is_ever_replaced(run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path) -> None:
    """Whoever means a folder by --out would lose all that lies in it, also with --overwrite."""
    for name in ("f.npy", "g.txt", "h.pt2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    words = ("--encoder", encoder_file, "--overwrite", "--out")
    for out, taken in (("f.npy", "f.npy"), ("g.npy", "g.txt")):
        assert f"{taken} is a folder, which no file replaces" in run.told("features", pictures, *words, tmp_path / out)
    assert "h.pt2 is a folder, which no file replaces" in run.told("export", *words, tmp_path / "h.pt2")
    assert len(list(tmp_path.glob("*/mine"))) == 3


def test_a_broken_picture_stops_the_command_or_is_named(
    run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path
) -> None:
    """As asked; what was stopped leaves nothing behind."""
    (pictures / "bad.jpg").write_bytes(b"no picture")
    words = ("features", pictures, "--encoder", encoder_file, "--out", tmp_path / "f.npy")
    line = run.told(*words)
    assert f"{pictures / 'bad.jpg'} is no whole picture" in line
    assert line.endswith("; take it out, or pass --skip-broken")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    done = run(*words, "--skip-broken", "--json")
    assert json.loads(done.stdout)["skipped"] == [str(pictures / "bad.jpg")]
    assert f"skipped: {pictures / 'bad.jpg'}" in done.stderr
    assert len(np.load(tmp_path / "f.npy")) == 5


def test_mistakes_are_one_line(run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path) -> None:
    """A folder without pictures or in the place of one, what is not there, no encoder, an unknown kind of file."""
    out = tmp_path / "f.npy"
    (empty := tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no encoder")
    known = ("--encoder", encoder_file)
    assert "has no pictures; expected files that end in .jpg" in run.told("features", empty, *known, "--out", out)
    assert "there is no file or folder" in run.told("features", tmp_path / "gone", *known, "--out", out)
    assert "cannot read the encoder" in run.told("features", pictures, "--encoder", broken, "--out", out)
    assert "expected a name that ends in .npy or .parquet" in run.told("features", pictures, *known, "--out", "f.csv")
    assert "there is no folder" in run.told("features", pictures, *known, "--out", tmp_path / "gone" / "f.npy")
    assert "too small for 4c5-4c5-8f" in run.told("features", pictures, *known, "--out", out, "--side", 20)
    assert "is a folder; expected the one picture" in run.told("neighbours", pictures, pictures, *known)
    assert "cannot read" in run.told("neighbours", pictures / "a.png", broken.rename(tmp_path / "x.parquet"), *known)
    assert not out.exists()


def test_what_the_disk_refuses_of_an_output_is_one_line(run: Shell, pictures: Path, encoder_file: Path) -> None:
    """With the disk's own reason: a folder that takes no files, and a name that is too long for one."""
    known, long = ("--encoder", encoder_file), "a" * 300
    for out, why in (("/proc/g", "No such file or directory"), (long, "File name too long"), (long[:248], "File name")):
        assert f"{out}.npy cannot be written ({why}" in run.told("features", pictures, *known, "--out", f"{out}.npy")
    assert "cannot be written (No such" in run.told("export", *known, "--side", 48, "--out", "/proc/g.pt2")


def test_a_file_that_was_mistyped_is_named_with_what_was_expected(
    run: Shell, pictures: Path, encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is read as something else."""
    monkeypatch.chdir(tmp_path)
    known, features = ("--encoder", encoder_file), "a file of features that ends in .npy or .parquet"
    Path("f.txt").touch()
    assert "there is no file no.safetensors; expected a .safetensors file" in run.told("describe", "no.safetensors")
    assert "model '' is no string" in run.told("describe", "")
    gone = run.told("neighbours", pictures / "a.png", "gone.npy", *known)
    assert gone == f"error: there is no file or folder gone.npy; expected a folder with pictures, or {features}"
    other = run.told("neighbours", pictures / "a.png", "f.txt", *known)
    assert other == f"error: f.txt is no file of features; expected a folder with pictures, or {features}"
    assert "there is no file or folder aaa" in run.told("neighbours", "a" * 300, pictures, *known)
    for given, said in ((pictures, f"{pictures} is a folder"), ("", "there is no encoder ''")):
        told = run.told("features", pictures, "--out", "g.npy", "--encoder", given)
        assert told == f"error: {said}; expected a .safetensors file, or a run of MLflow"


def test_a_network_is_described_before_it_is_trained(run: Shell, encoder_file: Path) -> None:
    """For people and for programs; a mistake in the string is one line."""
    assert "128f           128 x 17 x 17         524,416" in run("describe", "64c5-64c5-128f").stdout
    assert json.loads(run("describe", encoder_file, "--json").stdout)["model"] == "4c5-4c5-8f"
    assert "'64x5' is no layer" in run.told("describe", "64c5-64x5-8f")
