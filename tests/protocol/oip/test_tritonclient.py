"""NVIDIA's own client, tritonclient over HTTP, with tensors in JSON; `test_binary` has the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests import zoo

triton = pytest.importorskip(
    "tritonclient.http", reason="needs tritonclient: pip install 'tritonclient[http]'"
)
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException


@pytest.fixture
def client(server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


def sent(name: str, array: np.ndarray, datatype: str) -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=False)


def wanted(*names: str, classes: int = 0) -> list[Any]:
    return [triton.InferRequestedOutput(n, binary_data=False, class_count=classes) for n in names]


FLOWER = np.array([zoo.FLOWER], np.float32)


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "2")
    assert not client.is_model_ready("nobody")


def test_metadata(client):
    assert client.get_server_metadata()["name"] == "maas"
    assert client.get_model_metadata("iris", "2")["inputs"][0]["name"] == "x"


@pytest.mark.parametrize(("version", "label"), [("", 0), ("1", 0), ("2", 2)])
def test_inference(client, version, label):
    result = client.infer(
        "iris",
        [sent("x", FLOWER, "FP32")],
        model_version=version,
        outputs=wanted("label", "probabilities"),
        request_id="7",
    )
    assert result.as_numpy("label").tolist() == [label]
    assert result.as_numpy("probabilities").dtype == np.float32
    assert result.get_response()["id"] == "7"


def test_texts(client):
    texts = np.array([zoo.TEXT, "新手机的芯片"], np.object_)
    result = client.infer("words", [sent("text", texts, "BYTES")], outputs=wanted("label"))
    assert result.as_numpy("label").tolist() == ["体育", "科技"]


def test_classes(client):
    result = client.infer(
        "flowers", [sent("x", FLOWER, "FP32")], outputs=wanted("probabilities", classes=1)
    )
    assert str(result.as_numpy("probabilities")[0][0]).endswith(":0:setosa")


def test_two_inputs(client):
    two = np.array([[1, 2]], np.float32)
    result = client.infer(
        "pair", [sent("a", two, "FP32"), sent("b", two, "FP32")], outputs=wanted("product")
    )
    assert result.as_numpy("product").tolist() == [[1, 4]]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client, algorithm):
    result = client.infer(
        "iris",
        [sent("x", FLOWER, "FP32")],
        outputs=wanted("label"),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert result.as_numpy("label").tolist() == [0]


def test_many_at_once(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=8) as client:
        calls = [
            client.async_infer("iris", [sent("x", FLOWER, "FP32")], outputs=wanted("label"))
            for _ in range(64)
        ]
        assert [call.get_result().as_numpy("label").tolist() for call in calls] == [[0]] * 64


def test_errors_reach_the_caller(client):
    with pytest.raises(InferenceServerException, match=r"\[404\].*nobody"):
        client.infer("nobody", [sent("x", FLOWER, "FP32")], outputs=wanted("label"))
    with pytest.raises(InferenceServerException, match=r"\[400\].*expected x FP32"):
        client.infer("iris", [sent("y", FLOWER, "FP32")], outputs=wanted("label"))
