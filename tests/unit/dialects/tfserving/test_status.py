"""TensorFlow Serving's status and metadata."""

from __future__ import annotations

import json

import msgspec
import pytest

from maas.core.identity import ServableId
from maas.core.messages import VersionStatus
from maas.core.states import ServableState
from maas.core.tensor import DType
from maas.dialects.tfserving.status import TENSORFLOW_NAMES, encode_metadata, encode_status


def test_status_of_versions():
    statuses = [
        VersionStatus(ServableId("m", 123), ServableState.AVAILABLE),
        VersionStatus(ServableId("m", 2), ServableState.END, "it failed to load"),
    ]
    assert json.loads(encode_status(statuses)) == {
        "name": "m",
        "ready": True,
        "model_version_status": [
            {
                "version": "123",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            },
            {
                "version": "2",
                "state": "END",
                "status": {"error_code": "UNKNOWN", "error_message": "it failed to load"},
            },
        ],
    }


@pytest.mark.parametrize("state", list(ServableState))
def test_every_state_has_the_protocols_name(state):
    text = encode_status([VersionStatus(ServableId("m", 1), state)])
    [version] = json.loads(text)["model_version_status"]
    assert version["state"] in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
    assert version["state"] == state.value


@pytest.mark.parametrize("method", ["predict", "classify", "regress"])
def test_a_signature_says_what_it_is_for(iris, method):
    signature = msgspec.structs.replace(iris.signatures["serving_default"], method=method)
    view = msgspec.structs.replace(iris, signatures={"serving_default": signature})
    metadata = json.loads(encode_metadata(view))["metadata"]["signature_def"]["signature_def"]
    assert metadata["serving_default"]["method_name"] == f"tensorflow/serving/{method}"


def test_metadata_is_nested_twice(iris):
    metadata = json.loads(encode_metadata(iris))
    assert metadata["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"] == {
        "x": {
            "dtype": "DT_FLOAT",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}],
                "unknown_rank": False,
            },
            "name": "x",
        }
    }
    assert signature["outputs"]["label"]["dtype"] == "DT_INT64"


def test_every_element_type_has_a_name():
    assert set(TENSORFLOW_NAMES) == set(DType)
