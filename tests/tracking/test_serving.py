"""What a logged encoder answers to a client, through the code by which `mlflow models serve` reads a request."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exemplar.models.saved import load_encoder
from exemplar.tracking import runs
from exemplar.tracking.serving import FeatureFunction

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 36), np.uint8)
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)
Ask = Callable[[dict[str, Any]], np.ndarray]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, encoder_file: Path) -> Any:
    """The encoder that a run has logged, as MLflow loads it."""
    import mlflow.pyfunc

    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        with runs.run(stage="train", name="served", parameters={}, inputs=[]) as run:
            run.log_encoder(encoder_file, example=IMAGES, name="exemplar-net", ranked_on="photos")
    return mlflow.pyfunc.load_model(str(next(folder.rglob("MLmodel")).parent))


@pytest.fixture
def ask(model: Any) -> Ask:
    """Send JSON to the served model; what it answers."""
    from mlflow.pyfunc.scoring_server import invocations

    def sent(content: dict[str, Any]) -> np.ndarray:
        schema = model.metadata.get_input_schema()
        answer = invocations(json.dumps(content), "application/json", model, schema)
        assert answer.status == 200
        return np.array(json.loads(answer.response)["predictions"], np.float32)

    return sent


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bytes": lambda images: images,
    "floats": lambda images: images / 255,
    "bytes, planes last": lambda images: images.transpose(0, 2, 3, 1),
    "floats, planes last": lambda images: images.transpose(0, 2, 3, 1) / 255,
}


@pytest.mark.parametrize("key", ["inputs", "instances"])
@pytest.mark.parametrize("way", WAYS)
def test_pictures_sent_as_json_have_the_features_of_the_file(way: str, key: str, ask: Ask, encoder_file: Path) -> None:
    """Bytes and floats, planes first and last; one picture alone has a row of its own."""
    expected = FeatureFunction(load_encoder(encoder_file)).predict(IMAGES)
    np.testing.assert_allclose(ask({key: WAYS[way](IMAGES).tolist()}), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ask({key: WAYS[way](IMAGES)[0].tolist()}), expected[:1], rtol=1e-4, atol=1e-6)


ONES = np.ones((1, 3, 40, 40))
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "whole numbers beyond bytes": (
        {"inputs": (ONES * 300).astype(int).tolist()},
        "values from 300 to 300 as torch.int",
    ),
    "floats beyond 1": ({"inputs": (ONES * 127.5).tolist()}, "values from 127.5 to 127.5"),
    "floats around 0": ({"inputs": (ONES * -0.5).tolist()}, "values from -0.5 to -0.5"),
    "zeros and ones, as JavaScript writes floats": ({"inputs": ONES.astype(int).tolist()}, "images of 0 and 1 only"),
    "values that are none": ({"inputs": (ONES * float("nan")).tolist()}, "values from nan to nan"),
    "truth": ({"inputs": (ONES > 0).tolist()}, "images of torch.bool"),
    "texts": ({"inputs": [[["a", "b"]]]}, "an array of <U1 is no image"),
    "pictures of several sizes": ({"inputs": [ONES[0].tolist(), ONES[0, :, :38].tolist()]}, "inhomogeneous"),
    "no picture": ({"inputs": []}, "expected"),
    "a number": ({"inputs": 3}, "expected"),
    "grey": ({"inputs": ONES[:, :1].tolist()}, "no axis has three colours"),
    "small pictures": ({"inputs": (ONES[:, :, :20] / 2).tolist()}, "images of 40 x 20 pixels are too small"),
    "a table": ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, "DataFrame is no image"),
    "named columns": ({"inputs": {"image": ONES.tolist()}}, "dict is no image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_no_picture_is_refused_and_not_guessed(name: str, ask: Ask) -> None:
    """Status 400, and a line that says what came and what was expected."""
    from mlflow.exceptions import MlflowException

    content, said = REFUSED[name]
    with pytest.raises(MlflowException, match=said) as refused:
        ask(content)
    assert refused.value.get_http_status_code() == 400
    assert "Traceback" not in refused.value.message


def test_in_python_the_model_takes_what_the_library_takes(model: Any) -> None:
    """Arrays of bytes and of floats, and tensors."""
    expected = model.predict(IMAGES)
    for images in (IMAGES / 255, (IMAGES / 255).astype(np.float32), torch.from_numpy(IMAGES), IMAGES.astype(np.int32)):
        np.testing.assert_allclose(model.predict(images), expected, rtol=1e-4, atol=1e-6)
