from __future__ import annotations

import json

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.messages import VersionStatus
from maas.core.states import ServableState
from maas.core.tensor import DType, TensorSpec
from maas.dialects.torchserve.decode import Prediction
from maas.dialects.torchserve.encode import (
    ERROR_TYPES,
    ListedModel,
    encode_description,
    encode_error,
    encode_health,
    encode_models,
    encode_prediction,
)

BATCH, SINGLE = Prediction({}, 1, False), Prediction({}, 1, True)


def test_one_output_is_its_value(make_view, reply):
    answer = reply(make_view([], [TensorSpec("y", DType.FP32, (None, 2))]), y=[[1, 2]])
    assert encode_prediction(answer, BATCH) == b"[[1.0,2.0]]"
    assert encode_prediction(answer, SINGLE) == b"[1.0,2.0]"


def test_several_are_an_object(iris, reply):
    answer = reply(iris, label=[1], probabilities=[[0, 1, 0]])
    assert json.loads(encode_prediction(answer, SINGLE)) == {
        "label": 1,
        "probabilities": [0, 1, 0],
    }


def test_lists():
    models = [ListedModel("iris", 3), ListedModel("花", 1)]
    assert json.loads(encode_models(models, "2")) == {
        "models": [
            {"modelName": "iris", "modelUrl": "iris:3"},
            {"modelName": "花", "modelUrl": "花:1"},
        ],
        "nextPageToken": "2",
    }
    assert json.loads(encode_models([], None)) == {"models": []}


def test_a_description_says_which_version_is_ready():
    statuses = [
        VersionStatus(ServableId("m", 2), ServableState.AVAILABLE),
        VersionStatus(ServableId("m", 1), ServableState.END, "it failed to load"),
    ]
    second, first = json.loads(encode_description(statuses))
    assert second["modelVersion"] == "2"
    assert second["workers"] == [{"id": "m:2", "status": "READY"}]
    assert first["workers"][0]["status"] == "UNLOADING"
    assert first["reason"] == "it failed to load"


def test_health():
    assert json.loads(encode_health(True)) == {"status": "Healthy"}
    assert json.loads(encode_health(False)) == {"status": "Unhealthy"}


def test_errors_have_torchserves_types():
    assert set(ERROR_TYPES) == set(ErrorKind)
    error = MaasError(ErrorKind.NOT_FOUND, "there is no model 'm'")
    assert json.loads(encode_error(error, 404)) == {
        "code": 404,
        "type": "ModelNotFoundException",
        "message": "there is no model 'm'",
    }
