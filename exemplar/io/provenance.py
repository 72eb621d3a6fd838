"""Where a run comes from: its commit, how the tree differs from it, its DVC experiment, and the md5 of its inputs."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exemplar.errors import UserError, one_line, reason, without_secrets
from exemplar.io import foreign

LARGEST_FILE_TO_HASH = 64 << 20
LARGEST_PATCH = 1_000_000
LARGEST_LOCK = 1 << 22
LONGEST_LIST, LONGEST_REASON = 5_000, 500
OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
MERGING = b"<<<<<<< "
NO_SECRETS = ":(exclude,top).dvc/config"  # where `dvc remote modify` without --local writes a password
# Every experiment changes these two. The run itself holds their content, as parameters and md5 tags, so a tree in which
# nothing else differs counts as clean.
RECORDED_ELSEWHERE = {"params.yaml", "dvc.lock"}


def user_repository() -> Path:
    """The repository the user works in: DVC names it, also to a queued run, which works in a clone that DVC deletes."""
    return Path(os.environ.get("DVC_ROOT") or Path(__file__).resolve().parents[2])


def is_run_by_dvc() -> bool:
    """Whether DVC started this stage, and so keeps dvc.lock in step with the folder; by hand nobody does."""
    return bool(os.environ.get("DVC_STAGE"))


class GitError(Exception):
    """What git said on one line when it failed, with its remedy where it has one."""


def environment(index: Path | None = None) -> dict[str, str]:
    """The environment of a git command in its own language, without what a hook of another repository has set there."""
    kept = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER}
    return kept | {"LC_ALL": "C"} | ({"GIT_INDEX_FILE": str(index)} if index else {})


def git(*arguments: str) -> bytes:
    """The output of a git command; empty where git fails."""
    try:
        return ask_git(*arguments)
    except GitError:
        return b""


def ask_git(*arguments: str, index: Path | None = None, stdin: bytes = b"") -> bytes:
    """The output of a git command. Raises GitError where git fails or is missing, or without a repository or commit."""
    words, given = ["git", *arguments], environment(index)
    try:
        return subprocess.run(words, input=stdin, env=given, capture_output=True, check=True).stdout
    except OSError as error:
        raise GitError(f"git cannot be started ({error.strerror})") from None
    except subprocess.CalledProcessError as error:
        said = one_line(error.stderr.decode(errors="replace"))[:LONGEST_REASON]
        raise GitError(said or f"git {arguments[0]} ends with status {error.returncode} and without a word") from None


@dataclass(frozen=True)
class Changes:
    """How the working directory differs from the commit: all files that do, and the patch of those that git tracks.

    `unknown` says why git does not tell it, empty where it does.
    """

    names: tuple[str, ...]
    patch: str
    commit: str = ""
    unknown: str = ""

    @property
    def are_missed(self) -> bool:
        """Whether git should tell them and does not; where there is no repository, nobody expects a commit."""
        return bool(self.unknown) and "not a git repository" not in self.unknown


def changes() -> Changes:
    """Compare every file's content with the commit; the patch has at most a million bytes and no secret of a URL.

    Git reads a file again only when its size or time has changed: in the clone of a queued experiment it took 8 of 9
    changed params.yaml for unchanged. With a copy of its index that has no times it reads every file.
    """
    commit = ""
    try:
        commit = ask_git("rev-parse", "--verify", "HEAD").decode().strip()
        with TemporaryDirectory() as folder:
            index = Path(folder, "index")
            tracked = ask_git("ls-files", "-s", "-z", "--full-name", ":/")
            ask_git("update-index", "-z", "--index-info", index=index, stdin=tracked)
            names = ask_git("diff", "HEAD", "--name-only", "--relative", "-z", index=index)
            patch = beginning_of_patch(index)
        names += ask_git("ls-files", "--others", "--exclude-standard", "-z")
    except GitError as error:
        return Changes((), "", commit, unknown=str(error))
    if len(patch) > LARGEST_PATCH:
        patch = patch[:LARGEST_PATCH] + b"\n[cut: the difference is longer]\n"
    changed = sorted(filter(None, names.decode(errors="replace").split("\0")))
    return Changes(tuple(changed), without_secrets(patch.decode(errors="replace")), commit)


def beginning_of_patch(index: Path) -> bytes:
    """How files that git tracks differ from the commit, as far as it is kept and a byte more; git is ended then."""
    words = ("HEAD", "--relative", "--no-ext-diff", "--no-textconv", "--no-color", "--", ".", NO_SECRETS)
    given, quiet = environment(index), subprocess.DEVNULL
    with subprocess.Popen(["git", "diff", *words], env=given, stdout=subprocess.PIPE, stderr=quiet) as asked:
        assert asked.stdout
        patch = asked.stdout.read(LARGEST_PATCH + 1)
        asked.kill()
    return patch


def outputs() -> dict[str, str]:
    """The md5 of every output in dvc.lock, by path (a folder's ends in `.dir`). Raises UserError for a broken file."""
    lock = Path("dvc.lock")
    try:
        return outputs_in(foreign.read(lock, most_bytes=LARGEST_LOCK)) if lock.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"dvc.lock cannot be read ({reason(error)}); remove it, and dvc repro makes it anew") from None


@lru_cache(maxsize=1)  # a run asks twice, and to read a thousand lines takes 70 ms
def outputs_in(lock: bytes) -> dict[str, str]:
    """The md5 of every output in the text of a lock file, by path. Raises UserError where it is broken."""
    if MERGING in lock:
        raise UserError("dvc.lock holds both sides of a merge; take one, as git checkout --ours dvc.lock does")
    try:
        content: Any = foreign.load_yaml(lock)
        outs = [out for stage in content["stages"].values() for out in stage.get("outs", ()) if "md5" in out]
        return {own_path(out["path"]): whole_digest(out["md5"]) for out in outs}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"dvc.lock is broken ({reason(error)}); remove it, and dvc repro makes it anew") from None


def own_path(path: object) -> str:
    """A path of an output; raises ValueError for one that leads out of the repository."""
    if not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"it names {path!r}, which is no output")
    return path


def whole_digest(md5: object) -> str:
    """An md5 as DVC writes it; raises ValueError for anything else, which might be part of a path."""
    if not isinstance(md5, str) or not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", md5):
        raise ValueError(f"it names {md5!r}, which is no md5")
    return md5


def output_of(path: Path, outputs: Iterable[str]) -> str | None:
    """The one of `outputs` that is `path` or a folder above it, if any."""
    return next((each.as_posix() for each in (path, *path.parents) if each.as_posix() in outputs), None)


def tree_tags(changes: Changes) -> dict[str, str]:
    """The commit, the names of all files that differ from it, and whether the tree is dirty.

    It is dirty where files differ that the run does not hold itself; new files count unless git ignores them, and
    outputs that git tracks do not count, because DVC rewrites them. Where git does not tell it, `git.unknown` says why.
    """
    tags = {"mlflow.source.git.commit": changes.commit} if changes.commit else {}
    if changes.unknown:
        return tags | {"git.unknown": changes.unknown}
    recorded = outputs()
    dirty = any(name not in RECORDED_ELSEWHERE and not output_of(Path(name), recorded) for name in changes.names)
    tags["git.dirty"] = str(dirty).lower()
    return tags | ({"git.changed": ", ".join(changes.names)[:LONGEST_LIST]} if changes.names else {})


def experiment_tags() -> dict[str, str]:
    """The DVC stage, and the experiment and its baseline where `dvc exp run` started it."""
    names = {"dvc.stage": "DVC_STAGE", "dvc.exp_name": "DVC_EXP_NAME", "dvc.baseline_rev": "DVC_EXP_BASELINE_REV"}
    return {tag: os.environ[name] for tag, name in names.items() if os.environ.get(name)}


def input_tags(paths: Iterable[Path]) -> dict[str, str]:
    """`md5.<path>` of the inputs of a run.

    Under DVC they come from dvc.lock, because DVC has just compared them. Outside of DVC the lock file may describe
    other files; then files up to 64 MiB are hashed, and larger ones and folders get no tag.
    """
    recorded = outputs() if is_run_by_dvc() else {}
    tags = {}
    for path in paths:
        relative = Path(os.path.relpath(path))
        if output := output_of(relative, recorded):
            tags[tag_name(f"md5.{output}")] = recorded[output]
        elif path.is_file() and path.stat().st_size <= LARGEST_FILE_TO_HASH:
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False)
            tags[tag_name(f"md5.{relative.as_posix()}")] = md5.hexdigest()
    return tags


def tag_name(text: str) -> str:
    """A name that MLflow accepts: letters, digits and `_ - . / :` and spaces, at most 250."""
    return re.sub(r"[^\w./: -]", "_", text)[:250]
