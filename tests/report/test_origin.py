"""Where results come from, told below the answer."""

import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from exemplar.params.load import load_params
from exemplar.report import origin
from exemplar.tracking.sidecars import Sidecar


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that holds the published params.yaml."""
    published = Path(__file__).parents[2] / "params.yaml"
    (tmp_path / "params.yaml").write_bytes(published.read_bytes())
    monkeypatch.chdir(tmp_path)
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "published"]):
        subprocess.run(["git", *words], check=True)
    return tmp_path


def test_origin_is_date_commit_machine_and_duration(repository: Path):
    """What DVC restored from elsewhere is counted, and its time is not known."""
    told = origin.origin({"train.exemplar": Sidecar("feed", 170.0), "probe.photos.exemplar": Sidecar("beef", 10.0)})
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert list(told) == ["date", "commit", "machine", "duration"]
    assert (told["commit"], told["duration"]) == (commit[: origin.SHORT], "3.0 minutes inside the stages")
    assert told["machine"].endswith("cores")
    elsewhere = origin.origin({"train.exemplar": Sidecar("feed", 17.0), "probe.photos.exemplar": None})
    assert elsewhere["duration"] == "17 seconds inside the stages, 1 of 2 results made elsewhere"
    (repository / "new.py").touch()
    assert origin.origin({})["commit"].endswith(", with changes")


def test_changed_settings_are_those_that_differ_from_the_commit(repository: Path):
    """By name, with both values; a commit without params.yaml has none."""
    path = repository / "params.yaml"
    assert origin.changed_settings(load_params(path).model_dump()) == []
    yaml = YAML()
    content = yaml.load(path)
    content["train"]["epochs"] = 9
    content["transformation"]["angle_degrees"] = [0.0, 0.0]
    yaml.dump(content, path)
    changed = origin.changed_settings(load_params(path).model_dump())
    assert changed == [("transformation.angle_degrees", (-20.0, 20.0), (0.0, 0.0)), ("train.epochs", 2, 9)]
    subprocess.run(["git", "rm", "-q", "--cached", "params.yaml"], check=True)
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    subprocess.run(["git", *who, "commit", "-qm", "gone"], check=True)
    assert origin.changed_settings(load_params(path).model_dump()) == []
