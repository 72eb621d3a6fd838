"""The encoder of a run, found by what a user calls it."""

from pathlib import Path

import numpy as np
import pytest

from exemplar.errors import UserError
from exemplar.tracking import encoders, runs

# mlflow's own, which it hides itself outside of pytest
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)


def test_a_run_is_found_by_its_id_its_name_and_its_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: Path
):
    """What it has logged is the file that was saved; a name that none has is told with the nearest."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("DVC_EXP_NAME", "moved-orca")
    with runs.run(stage="train", name="exemplar · train", parameters={}, inputs=[]) as run:
        run.log_encoder(
            encoder_file, example=np.zeros((1, 3, 36, 36), np.uint8), name="exemplar-net", ranked_on="photos"
        )
    with runs.run(stage="train", name="random · train", parameters={}, inputs=[]):
        pass
    for name in (run.id, run.id[:8], "exemplar · train"):
        with encoders.fetched(name) as file:
            assert file.read_bytes() == encoder_file.read_bytes()
    with pytest.raises(
        UserError, match=r"run exemplar train; expected a .safetensors file, or a run: perhaps exemplar · train\?"
    ):
        encoders.fetched("exemplar train").__enter__()
    with pytest.raises(UserError, match=r"or a run: perhaps exemplar · train, moved-orca, random · train\?"):
        encoders.fetched("zzz").__enter__()
    with pytest.raises(UserError, match="the run random · train has logged no encoder"):
        encoders.fetched("random · train").__enter__()


def test_without_a_store_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A mistyped file is no reason to make a database."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"there is no file encoder.saftensors, and no MLflow store"):
        encoders.fetched("encoder.saftensors").__enter__()
    assert list(tmp_path.iterdir()) == []
