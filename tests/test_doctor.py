"""What the doctor says of a repository that DVC made something in."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from hashlib import md5
from pathlib import Path

import pytest
from filelock import FileLock
from ruamel.yaml import YAML
from somebody import as_somebody

from exemplar import doctor
from exemplar.datasets.evaluation import Evaluation
from exemplar.errors import UserError
from exemplar.io import cache
from exemplar.io.sources import source_digest
from exemplar.params.load import load_params
from exemplar.probe.protocol import draw_C
from exemplar.tracking import runs
from exemplar.tracking import store as tracking_store

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)
CACHE = Path(".dvc/cache")
CONTENT = {"data/seeds.npz": b"seeds", "data/surrogate/mean.npy": b"mean"}


def store(content: bytes, *, suffix: str = "") -> str:
    """Put bytes into DVC's cache, and return their name there."""
    name = md5(content, usedforsecurity=False).hexdigest() + suffix
    path = cache.cached(CACHE, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, a file and a folder that DVC made, and both in its cache."""
    shutil.copy(Path(__file__).parents[1] / "params.yaml", tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    names = {}
    for place, content in CONTENT.items():
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_bytes(content)
        names[place] = store(content)
    listed = json.dumps([{"md5": names["data/surrogate/mean.npy"], "relpath": "mean.npy"}]).encode()
    outs = [
        {"path": "data/seeds.npz", "md5": names["data/seeds.npz"]},
        {"path": "data/surrogate", "md5": store(listed, suffix=".dir")},
    ]
    YAML().dump({"stages": {"seeds": {"outs": outs}}}, tmp_path / "dvc.lock")
    return tmp_path


def looks(findings: Iterable[doctor.Finding]) -> list[str]:
    """The lines that ask somebody to look."""
    return [finding.line() for finding in findings if finding.remedy]


def complaints() -> list[str]:
    """Those of all that is looked at."""
    return looks(doctor.findings([Path("data")]))


def test_a_sound_repository_has_nothing_to_look_at() -> None:
    """Versions, device, disk, store and both outputs each have their line."""
    lines = [finding.line() for finding in doctor.findings([Path("data")])]
    assert all(line.startswith("ok    ") for line in lines)
    for part in ("torch 2", "cpu", "GB free", "holds 0 runs", "data/seeds.npz is whole", "data/surrogate is whole"):
        assert any(part in line for line in lines), part


def damage(content: bytes) -> None:
    """Change one byte of an object in the cache."""
    cache.cached(CACHE, md5(content, usedforsecurity=False).hexdigest()).write_bytes(b"X" + content[1:])


def cut(name: str) -> None:
    """Leave of a file what a kill leaves that meets it just opened."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (
            lambda: damage(b"seeds"),
            "data/seeds.npz: in the cache .* is missing or not what its name says: rm -f .*; dvc",
        ),
        (lambda: damage(b"mean"), "data/surrogate: in the cache .* is missing or not what"),
        (lambda: Path("data/seeds.npz").unlink(), "data/seeds.npz is not in the folder but in the cache: dvc checkout"),
        (lambda: Path("data/.x.4194305.tmp").touch(), "data/.x.4194305.tmp is half a result of a killed process"),
        (lambda: cut(".dvc/tmp/rwlock"), "rwlock is broken, as a kill leaves it: .*: rm .*/.dvc/tmp/rwlock"),
        (lambda: cut(".dvc/tmp/exps/rwlock"), "rwlock is broken, as a kill leaves it: .*: rm .*/exps/rwlock"),
        (lambda: cut("dvc.lock"), "dvc.lock is broken, as a kill leaves it: .*: rm .*/dvc.lock"),
        (
            lambda: Path("dvc.lock").write_text("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> b\n"),
            "dvc.lock holds both sides of a merge: git checkout --ours .*/dvc.lock, or --theirs",
        ),
        (lambda: Path("params.yaml").write_text("model: 3"), "params.yaml .*: correct it"),
        (lambda: Path("mlflow.db").write_text("no database" * 99), "MLflow store .* cannot be used"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(harm: Callable[[], object], told: str) -> None:
    """One line for one harm."""
    harm()
    (line,) = complaints()
    assert line.startswith("look  ")
    assert re.search(told, line)


def in_place_of(name: str, *, link: str = "") -> None:
    """Make a folder of this name, or a link to `link`, whatever was there."""
    path = Path(name)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if link:
        path.symlink_to(link)
    else:
        path.mkdir()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda: in_place_of(".dvc/tmp/rwlock"), ".dvc/tmp/rwlock cannot be read (Is a directory)"),
        (lambda: in_place_of("dvc.lock"), "dvc.lock cannot be read (Is a directory)"),
        (lambda: in_place_of(".dvc/config"), ".dvc/config cannot be read (Is a directory)"),
        (lambda: in_place_of("downloads/0f.part", link="away"), "downloads/0f.part cannot be read (No such file or"),
    ],
)
def test_what_is_no_file_is_named_and_ends_nothing(harm: Callable[[], object], told: str) -> None:
    """It is looked at all the same, and everything else too."""
    harm()
    (line,) = complaints()
    assert told in line
    assert line.endswith(": see what it is, and who may read it")


@pytest.mark.parametrize("closed", ["cache", "output"])
def test_what_another_user_has_made_is_named(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repository or a cache that several share, an output that may not be read is told, and ends nothing."""
    with as_somebody() as shared:
        monkeypatch.chdir(shared)
        Path("seeds.npz").write_bytes(b"seeds")
        name = store(b"seeds")
        path = Path("seeds.npz") if closed == "output" else cache.cached(CACHE, name)
        path.chmod(0)
        (line,) = looks(doctor.told(doctor.output("seeds.npz", name, CACHE)))
        path.chmod(0o600)
    assert f"{path} cannot be read (Permission denied): see what it is, and who may read it" in line


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the library alone was installed, or an installation was cut."""
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "nosuch"))
    (line,) = complaints()
    assert line == "look  the package nosuch is not installed: pip install 'exemplar[pipeline]'"


def test_what_an_interrupted_run_left_is_named(repository: Path) -> None:
    """A checkpoint, pictures that were half read, a half-fetched archive and folder, and what came wrong."""
    (repository / ".checkpoints" / "download-folder-89ab" / "made").mkdir(parents=True)
    (repository / "downloads" / "1f.part").mkdir(parents=True)
    (repository / "downloads" / "1f.part" / "0.tar").write_bytes(bytes(5_000_000))
    (repository / ".checkpoints" / "train-exemplar-0123").mkdir(parents=True)
    (repository / ".checkpoints" / "train-exemplar-0123" / "state.pt").touch()
    for name in ("0f.part", "0f.wrong-1e"):
        (repository / "downloads" / name).touch()
    told, of = complaints(), ("train-exemplar was interrupted", "download-folder was interrupted")
    for part in (*of, "0f.part", "1f.part has 0.005 GB of a source", "0f.wrong-1e"):
        assert sum(part in line for line in told) == 1, part
    assert len(told) == 5


def test_what_a_process_is_at_is_not_to_be_removed(repository: Path) -> None:
    """A result that is being written, and a training that goes on, beside one that does not."""
    Path("data", f".x.{os.getpid()}.tmp").touch()
    for name in ("train-exemplar-0123", "train-rotation-4567"):
        (repository / ".checkpoints" / name).mkdir(parents=True)
        (repository / ".checkpoints" / name / "state.pt").touch()
    locks = repository / ".checkpoints" / "locks"
    locks.mkdir()
    with FileLock(locks / "train-exemplar-0123"):
        (line,) = looks(doctor.leftovers(repository, [Path("data")]))
    assert "train-rotation was interrupted" in line
    assert len(looks(doctor.leftovers(repository, [Path("data")]))) == 2


def test_a_state_that_a_kill_cut_short_is_told(repository: Path) -> None:
    """It may have gigabytes, and lies with the work that was interrupted."""
    half = repository / ".checkpoints" / "train-exemplar-0123" / ".state.pt.4194305.tmp"
    half.parent.mkdir(parents=True)
    half.touch()
    first, second = looks(doctor.leftovers(repository, []))
    assert f"{half} is half a result of a killed process, which nobody reads: rm -r " in first
    assert "train-exemplar was interrupted" in second


def test_an_output_that_changed_in_the_folder_is_told(repository: Path) -> None:
    """Its bytes in the cache are whole, so that DVC can bring them back."""
    (repository / "data/surrogate/mean.npy").write_bytes(b"neam")
    (line,) = complaints()
    assert line == "look  data/surrogate is not what dvc.lock says: dvc checkout --force data/surrogate"


def test_a_repository_that_git_refuses_is_told_with_its_remedy(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs in MLflow would name no commit."""
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    (line,) = complaints()
    assert "which runs in MLflow lack then" in line
    assert "git config --global --add safe.directory" in line


@pytest.mark.parametrize("name", ["übung", "C#", "a b"])
def test_a_path_that_dvc_cannot_take_everywhere_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its temporary copies fail with other characters than ASCII and with #; blanks are fine."""
    repository = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name} {name}"))
    monkeypatch.setenv("DVC_ROOT", str(repository))
    monkeypatch.chdir(repository)
    told = looks(doctor.surroundings(repository))
    assert len(told) == (name != "a b")
    assert all("DVC fails with --temp and --queue" in line for line in told)


def test_a_question_mark_in_the_path_is_told_and_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database would lie beside the repository, and be that of all whose names begin alike."""
    repository = tmp_path.rename(tmp_path.with_name("it's?"))
    monkeypatch.setenv("DVC_ROOT", str(repository))
    monkeypatch.chdir(repository)
    (line,) = complaints()
    assert "it's?, has a question mark" in line
    assert not repository.with_name("it's").exists()
    assert not (repository / "mlflow.db").exists()


@pytest.mark.parametrize("name", ["HOME", "TMPDIR"])
def test_a_folder_of_the_environment_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container or another machine leaves it."""
    monkeypatch.setenv(name, "/home/of-nobody")
    (line,) = looks(doctor.surroundings(Path("/")))
    assert (
        line == f"look  {name} is /home/of-nobody, where nothing can be written: set {name} to a folder that is yours"
    )


def test_a_umask_that_takes_its_own_rights_is_told() -> None:
    """What is made under it cannot be read again, by the next stage neither."""
    before = os.umask(0o277)
    try:
        told = list(doctor.surroundings(Path("/")))
    finally:
        os.umask(before)
    assert [finding.line().partition(":")[0] for finding in told] == ["look  the umask is 0277"]


def test_a_cache_elsewhere_is_looked_into(repository: Path) -> None:
    """Where `dvc cache dir` leads; what is missing there is told with its place."""
    assert doctor.cache_folder(repository) == repository / ".dvc" / "cache"
    (repository / ".dvc" / "config.local").write_text("[cache]\n    dir = ../shared\n")
    (repository / ".dvc" / "cache").rename(repository / "shared")
    assert doctor.cache_folder(repository).resolve() == repository / "shared"
    assert looks(doctor.outputs(repository)) == []
    shutil.rmtree(repository / "shared")
    assert [
        str(repository / "shared") in str(Path(line.split()[5]).resolve()) for line in looks(doctor.outputs(repository))
    ] == [True, True]


def test_a_source_that_was_changed_is_told(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With the md5 that it has now: DVC itself says that all is up to date."""
    pictures = tmp_path_factory.mktemp("pictures")
    (pictures / "1.png").write_bytes(b"one")
    yaml = YAML()
    settings = yaml.load(repository / "params.yaml")
    settings["unlabeled"] = "folder"
    settings["sources"]["folder"] |= {"url": str(pictures), "md5": source_digest(pictures)}
    yaml.dump(settings, repository / "params.yaml")
    assert looks(doctor.sources()) == []
    (pictures / "2.png").write_bytes(b"two")
    (line,) = looks(doctor.sources())
    assert line.startswith(f"look  {pictures} is not what sources.folder.md5 says")
    assert line.endswith(source_digest(pictures))


def test_the_verdict_counts_what_needs_a_look() -> None:
    """The first line says whether any other must be read."""
    sound, broken = doctor.Finding("a"), doctor.Finding("b", "mend it")
    assert doctor.verdict([sound, sound]) == "all is well, in 2 lines"
    assert doctor.verdict([sound, broken]) == "1 of 2 lines need a look"


def test_a_deleted_experiment_is_told_with_what_brings_it_back() -> None:
    """By the doctor, and by each stage, which cannot start without it."""
    client, experiment = tracking_store.connect(tracking_store.address())
    client.delete_experiment(experiment)
    (line,) = complaints()
    assert f"`mlflow experiments restore --experiment-id {experiment}` brings it back" in line
    with (
        pytest.raises(UserError, match="was deleted in the MLflow store"),
        runs.run(stage="x", name="x", parameters={}, inputs=[]),
    ):
        pass


def test_a_C_at_the_end_of_those_that_were_tried_is_named(repository: Path) -> None:
    """The largest and the smallest; one between them, and one that was not drawn by these settings, are not."""
    settings = load_params()
    section = settings.probe["photos"]
    tried = draw_C(section.C_range, draws=section.C_draws, random_seed=settings.random_seed)
    record = Evaluation(
        dataset="photos",
        method="exemplar",
        model="4c5-8f",
        readout="probe",
        accuracy=[0.5, 0.5],
        class_accuracy=[0.5, 0.5],
        knn_accuracy=None,
        training_samples=6,
        labels_for_choice=0,
        chosen=[{"C": tried[-1]}, {"C": tried[7]}, {"C": tried[0]}, {"C": 9e9}],
        classes=["a", "b"],
        confusion=[[1, 1], [1, 1]],
        answers=["10", "10"],
    )
    record.save(Path("results/evaluations/probe/photos-exemplar.json"))
    said = looks(doctor.choices([Path("results")]))
    assert [line.partition(": C is ")[2].split(",")[1].split()[1] for line in said] == ["largest", "smallest"]
    assert all("a wider probe.photos.C_range may have a better one" in line for line in said)
