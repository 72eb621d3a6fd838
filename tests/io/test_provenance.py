"""Where a run comes from: git, DVC and the md5 of what it reads."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from exemplar.errors import UserError
from exemplar.io import provenance

LOCK = """
schema: '2.0'
stages:
  download@photos:
    cmd: python -m stages.download photos
    outs:
    - path: data/photos
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
      size: 12
      nfiles: 2
  compare:
    cmd: python -m stages.compare
    outs:
    - path: results/metrics.json
      hash: md5
      md5: fedcba9876543210fedcba9876543210
      size: 3
"""


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed tree with code, settings, DVC's lock file and a tracked result; the working directory is there."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "results").mkdir()
    (tmp_path / "data" / "photos").mkdir(parents=True)
    for name in ("code.py", "params.yaml", "results/metrics.json", "data/photos/images.npy"):
        (tmp_path / name).write_text("one\n")
    (tmp_path / ".gitignore").write_text("/data\n")
    (tmp_path / "dvc.lock").write_text(LOCK)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path


def test_a_committed_tree_is_clean(checkout: Path) -> None:
    """The commit is named, nothing differs from it, and there is no patch."""
    changes = provenance.changes()
    tags = provenance.tree_tags(changes)
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert tags["git.dirty"] == "false"
    assert "git.changed" not in tags
    assert (changes.names, changes.patch, changes.unknown) == ((), "", "")


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_changed_and_new_files_make_a_tree_dirty(checkout: Path, name: str) -> None:
    """Code that the commit does not hold is named, whether git follows it yet or not."""
    (checkout / name).write_text("two\n")
    tags = provenance.tree_tags(provenance.changes())
    assert (tags["git.dirty"], tags["git.changed"]) == ("true", name)


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock", "results/metrics.json"])
def test_what_an_experiment_writes_does_not_make_a_tree_dirty(checkout: Path, name: str) -> None:
    """A queued experiment is a commit with other settings: they are named, and the tree still counts as clean."""
    (checkout / name).write_text((checkout / name).read_text() + "# two\n")
    tags = provenance.tree_tags(provenance.changes())
    assert (tags["git.dirty"], tags["git.changed"]) == ("false", name)


def test_a_change_of_equal_size_and_time_is_seen(checkout: Path) -> None:
    """Git does not look into such a file, and in the clone of a queued experiment the changed files are such."""
    git("config", "core.trustctime", "false")
    os.utime(checkout / "code.py", ns=(0, 0))
    git("update-index", "--refresh")
    (checkout / "code.py").write_text("two\n")
    os.utime(checkout / "code.py", ns=(0, 0))
    assert provenance.git("diff", "HEAD") == b""
    assert provenance.changes().names == ("code.py",)


def test_below_the_top_of_a_repository_only_the_working_directory_counts(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths start there, as in dvc.lock; what lies elsewhere in the repository is another project's."""
    (checkout / "code.py").write_text("two\n")
    (checkout / "results" / "metrics.json").write_text("two\n")
    (checkout / "results" / "new.json").write_text("two\n")
    monkeypatch.chdir("results")
    assert provenance.changes().names == ("metrics.json", "new.json")


def test_the_patch_shows_tracked_files_up_to_a_bound(checkout: Path) -> None:
    """Added files are tracked; others may hold what nobody meant to show, so only their names appear."""
    (checkout / "code.py").write_text("two\n")
    (checkout / "added.py").write_text("three\n")
    (checkout / "other.py").write_text("four\n")
    git("add", "added.py")
    changes = provenance.changes()
    assert changes.names == ("added.py", "code.py", "other.py")
    assert "-one\n+two\n" in changes.patch
    assert "+three\n" in changes.patch
    assert "four" not in changes.patch
    (checkout / "code.py").write_text("two\n" * 1_000_000)
    assert len(provenance.changes().patch) < 1_000_100


def test_without_a_commit_the_record_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a missing repository nor a missing git stops a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for path, told in {os.environ["PATH"]: "not a git repository", "": "git cannot be started"}.items():
        monkeypatch.setenv("PATH", path)
        changes = provenance.changes()
        (said,) = provenance.tree_tags(changes).items()
        assert said[0] == "git.unknown"
        assert told in said[1]
        assert changes.are_missed is (not path)


def test_a_repository_of_another_user_is_told_with_gits_own_remedy(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git refuses it, as in a container whose root works in a user's folder."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    changes = provenance.changes()
    assert changes.are_missed
    said = provenance.tree_tags(changes)["git.unknown"]
    assert "dubious ownership" in said
    assert f"git config --global --add safe.directory {checkout}" in said
    assert "\n" not in said


def test_a_repository_without_a_commit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in German: git is asked in its own language."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGUAGE", "de")
    git("init", "-q")
    changes = provenance.changes()
    assert changes.are_missed
    assert provenance.tree_tags(changes) == {"git.unknown": "fatal: Needed a single revision"}


def test_an_index_that_cannot_be_read_does_not_look_clean(checkout: Path) -> None:
    """The commit is known; whether the tree differs from it is not, and no tag says so."""
    (checkout / "code.py").write_text("two\n")
    (checkout / ".git/index").write_bytes(b"broken")
    tags = provenance.tree_tags(provenance.changes())
    assert tags.keys() == {"mlflow.source.git.commit", "git.unknown"}
    assert "index" in tags["git.unknown"]


def test_a_hook_of_another_repository_does_not_lend_its_commit(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells its hooks which repository is theirs, and whatever they start would take it for its own."""
    own = provenance.changes()
    other = tmp_path_factory.mktemp("other")
    monkeypatch.chdir(other)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "another")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.chdir(checkout)
    assert provenance.changes() == own


def test_a_program_that_git_would_ask_to_show_a_file_is_not_asked(checkout: Path) -> None:
    """Where it is not installed, git ends in the middle of the patch; and its words could not be applied again."""
    (checkout / ".git/info/attributes").write_text("*.py diff=shown\n")
    git("config", "diff.shown.textconv", "/absent/program")
    (checkout / "code.py").write_text("two\n")
    assert "+two" in provenance.changes().patch


def test_a_git_that_fails_without_a_word_does_not_look_clean(checkout: Path) -> None:
    """Where an object is missing, git 2.39 says so or ends by a signal; the commit is known, and no tag says clean."""
    (checkout / "code.py").write_text("two\n")
    name = subprocess.run(["git", "rev-parse", "HEAD:code.py"], capture_output=True, check=True).stdout.decode().strip()
    (checkout / ".git/objects" / name[:2] / name[2:]).unlink()
    found = provenance.changes()
    assert found.are_missed
    assert provenance.tree_tags(found).keys() == {"mlflow.source.git.commit", "git.unknown"}


def test_the_two_sides_of_a_merge_are_told(checkout: Path) -> None:
    """One of them is to be taken; the file is not broken, and nobody asks to remove it."""
    (checkout / "dvc.lock").write_text(f"<<<<<<< HEAD\n{LOCK}=======\n>>>>>>> other\n")
    with pytest.raises(UserError, match="holds both sides of a merge; take one, as git checkout --ours"):
        provenance.outputs()


def test_dvc_names_stage_experiment_and_baseline(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what DVC has set becomes a tag: plain `dvc repro` has a stage and no experiment."""
    assert provenance.experiment_tags() == {}
    monkeypatch.setenv("DVC_STAGE", "train@exemplar")
    assert provenance.experiment_tags() == {"dvc.stage": "train@exemplar"}
    monkeypatch.setenv("DVC_EXP_NAME", "bossy-lens")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "a" * 40)
    assert provenance.experiment_tags().keys() == {"dvc.stage", "dvc.exp_name", "dvc.baseline_rev"}


def test_under_dvc_the_lock_file_says_the_md5_of_data(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, and a file inside it, go by the md5 that DVC gave the folder; other files are hashed."""
    monkeypatch.setenv("DVC_STAGE", "seeds")
    read = [Path("data/photos/images.npy"), checkout / "params.yaml", Path("missing")]
    assert provenance.input_tags(read) == {
        "md5.data/photos": "0123456789abcdef0123456789abcdef.dir",
        "md5.params.yaml": hashlib.md5(b"one\n").hexdigest(),
    }


def test_outside_of_dvc_files_are_hashed(checkout: Path) -> None:
    """The lock file may then speak of other bytes, so it is not believed; names are made fit for a tag."""
    (checkout / "my (1).npy").write_text("one\n")
    md5 = hashlib.md5(b"one\n").hexdigest()
    read = [Path("data/photos"), Path("data/photos/images.npy"), Path("my (1).npy")]
    assert provenance.input_tags(read) == {"md5.data/photos/images.npy": md5, "md5.my _1_.npy": md5}


def test_the_users_repository_is_the_one_dvc_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without DVC it is the checkout that holds the code."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert provenance.user_repository() == tmp_path
    monkeypatch.delenv("DVC_ROOT")
    assert provenance.user_repository() == Path(__file__).parents[2]
