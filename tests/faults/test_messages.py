"""What is printed: one line, short enough to read, without secrets, and without what moves a terminal's cursor."""

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from bounded import told
from hypothesis import given, settings
from hypothesis import strategies as st

from exemplar.datasets.base import load_classes, save_protocol
from exemplar.doctor import Finding
from exemplar.errors import MOST_CHARACTERS, one_line, say, without_secrets
from exemplar.io import provenance
from exemplar.io.sources import shown
from exemplar.params.load import load_params
from exemplar.params.mistakes import shortened

ESCAPES = "\x1b[2J\x1b]0;owned\x07\nerror: all is lost\r\u202e\udcff"
# Each with a secret that has `hunter2` in it, and what is left of it.
SECRETS = {
    "http://anna:hunter2@host/x": "http://host/x",
    "http://anna:hun/hunter2@host/x": "http://host/x",
    "http://anna:hunter2'@host/x": "http://host/x",
    "http://hunter2@host/x": "http://host/x",
    "http://host/x?a=1,hunter2": "http://host/x",
    "http://host/x?sig=(x)hunter2": "http://host/x",
    "http://host/x?token=a@hunter2": "http://...",
    "http://anna:x?hunter2@host/x": "http://...",
    "http://host/x#hunter2": "http://host/x",
    "http://host/x;token=hunter2": "http://host/x",
    "postgresql://anna:hun/hunter2@h/db": "postgresql://h/db",
    "http:/anna:hunter2@h/x": "...@h/x",
    "anna:hunter2@h:/x": "...@h:/x",
    "host/x.tar?token=hunter2": "host/x.tar",
    "http:/host/x?a=1&X-Amz-Signature=hunter2": "http:/host/x",
    "//host/x?sig=hunter2%2F": "//host/x",
    "http://ci:" + "hunter2" * 90 + "@h/x": "http://h/x",
    "http://u:p://hunter2@h/x": "http://h/x",
    "http://anna:hun ter hunter2@host/x": "http://host/x",
    "http://anna:1 hunter2@host/x": "http://host/x",
    "postgresql://anna:hun/ter @ hunter2@h/db": "postgresql://h/db",
}


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:30])
def test_a_secret_is_hidden_by_where_it_stands_in_the_url(secret: str, tmp_path: Path) -> None:
    """In a sentence, in a list, in a source's own words and as a value of params.yaml, before anything is cut."""
    left = SECRETS[secret]
    assert one_line(f"cannot reach ({secret}); try again") == f"cannot reach ({left}); try again"
    assert shown(secret) == left
    for said in (shortened(secret), shortened([secret, secret]), shortened({"url": secret})):
        assert "hunter" not in said
        assert len(said) < 210
    (tmp_path / "params.yaml").write_text(f"sources: {{photos: {{urls: [{secret!r}]}}}}\n")
    assert "hunter" not in one_line(told(lambda: load_params(tmp_path / "params.yaml"), megabytes=100, seconds=5))


ANY = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=" \t\n\r\f\v"), max_size=8)


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(ANY, ANY, st.sampled_from(["http://u:{}@h/x", "http://{}@h", "x:{}@h:/y", "http://h/?t={}", "http://h/x#{}"]))
def test_a_password_of_any_characters_is_hidden(before: str, behind: str, url: str) -> None:
    """A space too, where a user's name stands before it; beside others, in quotes and in brackets too."""
    secret = url.format(f"{before}hunter2{behind}")
    assert "hunter2" not in one_line(f"see http://u:p{before} {behind}hunter2@h/x and http://h:5000/x")
    for text in (secret, f"'{secret}'", f"see ({secret}), [{secret}]", repr(secret), f"http://a:b@c/d?e=f,{secret}"):
        assert "hunter2" not in one_line(text)


def test_what_is_no_secret_stays() -> None:
    """Addresses, paths, times and code."""
    for text in (
        "see https://host:5000/x/y. And http://localhost/a_(b), or `http://h/x`",
        "12:30:01 error in /data/C#/a.jpg: x@y",
        "model 64c5-8f: no such file",
        "name@host:/data and @decorator",
        "is it a?b, or a ?x=1 in /data/what?.jpg",
        "the store http://host:5000 holds runs of train@exemplar, http://host:5000/x too",
    ):
        assert one_line(text) == text
    assert without_secrets("  url: 'http://u:p@h/x'\n+x = a[1:]@b\n") == "  url: 'http://h/x'\n+x = a[1:]@b\n"


class WordlessError(Exception):
    """An error whose own words fail."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_that_cannot_say_what_it_is_has_a_line() -> None:
    """The name of its kind; the line about an error is never another error."""
    assert one_line(WordlessError()) == "WordlessError"


def test_a_mistake_of_yaml_quotes_no_piece_of_the_text(tmp_path: Path) -> None:
    """Its reader cuts what it quotes to 75 characters, behind which no @ may be left."""
    (tmp_path / "params.yaml").write_text(f"url: 'http://ci:{'hunter2' * 40}@h/x\nb: [1\n")
    said = told(lambda: load_params(tmp_path / "params.yaml"), megabytes=100, seconds=5)
    assert "in line " in said
    assert "hunter" not in said


HOSTILE = {
    "escapes": ESCAPES,
    "a line of 20 MB": "../" + "A" * 20_000_000,
    "20 MB of words": "word " * 4_000_000,
    "a megabyte of ://": "://" * 300_000,
    "a megabyte of @ and :": ":@" * 500_000,
    "a megabyte of users": "://a:b " * 150_000 + "://a:b" * 200_000,
    "a megabyte of ?": "http://" + "?@" * 500_000,
    "a megabyte of brackets": "(" * 1_000_000 + "@" + ")" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_any_text_becomes_one_short_line_at_once(name: str) -> None:
    """Its beginning and its end are kept; time grows as its length does."""
    began = time.process_time()
    line = one_line(HOSTILE[name])
    assert time.process_time() - began < 5
    assert len(line) <= MOST_CHARACTERS + 20
    assert line.isprintable()


def test_what_is_printed_moves_no_cursor_and_ends_no_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line of what was said and of what the doctor found, also where nothing can be printed."""
    say(f"skipped: {ESCAPES}")
    assert capfd.readouterr().err == "skipped: [2J ]0;owned error: all is lost\n"
    finding = Finding(f"downloads/{ESCAPES}.part", f"rm {ESCAPES}").line()
    assert finding.isprintable()
    with (tmp_path / "closed").open("w") as closed:
        pass
    monkeypatch.setattr("sys.stderr", closed)
    say("x")


def test_a_password_that_dvc_has_written_is_not_in_the_patch(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dvc remote modify` without --local puts it into a file that git tracks; that it has changed is told.

    Of a large difference the beginning is read, and no more.
    """
    Path(".dvc").mkdir()
    before = {".dvc/config": "[core]\n", "code.py": "a = 1\n", "large.txt": "a\n" * 2_000_000}
    for name, content in before.items():
        Path(name).write_text(content)
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    Path(".dvc/config").write_text("[core]\n['remote \"lab\"']\n    password = hunter2\n")
    Path("large.txt").write_text("b\n" * 2_000_000)
    Path("code.py").write_text("a = 2  # postgresql://anna:hun/hunter2@h/db\n")
    found = provenance.changes()
    assert "+a = 2  # postgresql://h/db" in found.patch
    assert "hunter" not in found.patch
    assert {".dvc/config", "code.py", "large.txt"} <= set(found.names)
    assert len(found.patch) < 1_001_000
    assert "[cut: the difference is longer]" in found.patch


def test_a_class_whose_name_is_no_text_gets_one_that_is(tmp_path: Path) -> None:
    """A folder's name may be any bytes, those of an archive too; a file of text holds characters only."""
    none = np.zeros((1, 1), np.int64)
    save_protocol(tmp_path, labels=none[0], train=none, test=none, classes=("a\udcff", "b"))
    assert load_classes(tmp_path / "classes.json", remedy="") == ("a?", "b")


LOCKS = {
    "a digest that leads elsewhere": "stages: {a: {outs: [{path: data/seeds.npz, md5: ab/../../../../etc/passwd}]}}",
    "a digest that is a number": "stages: {a: {outs: [{path: data/seeds.npz, md5: 5}]}}",
    "a path that leads elsewhere": f"stages: {{a: {{outs: [{{path: ../x, md5: {'0' * 32}}}]}}}}",
    "an absolute path": f"stages: {{a: {{outs: [{{path: /etc/passwd, md5: {'0' * 32}}}]}}}}",
    "a path that is a list": f"stages: {{a: {{outs: [{{path: [x], md5: {'0' * 32}}}]}}}}",
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_outputs_and_digests_and_nothing_else(name: str) -> None:
    """It came with a copied repository, and is shown in commands that remove files."""
    said = told(lambda: provenance.outputs_in(LOCKS[name].encode()), megabytes=60, seconds=5)
    assert said.startswith("dvc.lock is broken (it names ")
