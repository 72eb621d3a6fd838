"""How a result was made stands beside it, outside of what DVC hashes."""

from pathlib import Path

import pytest

from exemplar.tracking import runs, sidecars
from exemplar.tracking.sidecars import Sidecar


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result in a repository of its own."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "result.json").write_text("0.7")
    return Path("result.json")


def test_a_sidecar_belongs_to_one_result(result: Path) -> None:
    """Another experiment's result has none, until the first one is there again."""
    sidecars.save(Sidecar("feed", 12.5, 900.0), sidecars.path_of("probe", "photos", "random", result=result))
    results: dict[tuple[str, ...], Path] = {("probe", "photos", "random"): result}
    assert sidecars.collect(results) == {"probe.photos.random": Sidecar("feed", 12.5, 900.0)}
    result.write_text("0.8")
    assert sidecars.collect(results) == {"probe.photos.random": None}
    result.write_text("0.7")
    assert sidecars.collect(results)["probe.photos.random"] is not None


@pytest.mark.parametrize(
    "content", ["", "{}", '{"run_id": "../x", "seconds": 1.0}', '{"run_id": "feed", "seconds": NaN}']
)
def test_a_sidecar_that_is_broken_is_as_good_as_none(result: Path, content: str) -> None:
    """No result depends on it."""
    path = sidecars.path_of("train", "random", result=result)
    path.parent.mkdir()
    path.write_text(content)
    assert sidecars.load(path) is None


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # mlflow's own
def test_the_run_of_a_stage_leaves_a_sidecar(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the run; a run that goes on after DVC was killed keeps its time."""
    monkeypatch.setenv("DVC_STAGE", "train@random")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    written = []
    for _ in range(2):
        with runs.work("train", "random", settings={}, inputs=[], result=result) as (run, _):
            run.samples_per_second = 900.0
        (path,) = Path(sidecars.FOLDER).iterdir()
        written.append(sidecars.load(path))
        assert written[-1] is not None
        assert (written[-1].run_id, written[-1].samples_per_second) == (run.id, 900.0)
    assert written[0] == written[1]
