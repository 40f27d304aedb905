"""NVIDIA's own client over gRPC, plain and asyncio."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests import zoo

from maas.core.tensor import DType

triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient and grpcio")
aio = pytest.importorskip("tritonclient.grpc.aio", reason="needs tritonclient and grpcio")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException

FLOWER = np.array([zoo.FLOWER], np.float32)


@pytest.fixture
def client(rpc: str) -> Iterator[Any]:
    with triton.InferenceServerClient(rpc) as opened:
        yield opened


def sent(name: str, array: np.ndarray, datatype: str) -> Any:
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def flower() -> list[Any]:
    return [sent("x", FLOWER, "FP32")]


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "2")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("iris", "9")


def test_metadata(client):
    assert client.get_server_metadata().name == "maas"
    found = client.get_model_metadata("iris", "2")
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [
        ("x", "FP32", [-1, 4])
    ]
    assert {one.name for one in found.outputs} == {"label", "probabilities"}


@pytest.mark.parametrize(("version", "label"), [("", 0), ("1", 0), ("2", 2)])
def test_inference(client, version, label):
    outputs = [triton.InferRequestedOutput(name) for name in ("label", "probabilities")]
    result = client.infer("iris", flower(), model_version=version, outputs=outputs, request_id="7")
    assert result.as_numpy("label").tolist() == [label]
    assert result.as_numpy("probabilities").dtype == np.float32
    assert result.get_response().id == "7"


def test_the_same_question_again_and_another_in_between(client):
    """A request's head is remembered: what follows must not be answered from the wrong one."""
    other = np.array([[6.3, 3.3, 6.0, 2.5]], np.float32)
    both = np.concatenate([FLOWER, other])
    for _ in range(3):
        for array in (FLOWER, other, both):
            result = client.infer("iris", [sent("x", array, "FP32")])
            labels = [
                client.infer("iris", [sent("x", row[None], "FP32")], request_id="x").as_numpy(
                    "label"
                )[0]
                for row in array
            ]
            assert result.as_numpy("label").tolist() == labels
        for version in ("1", "2"):
            result = client.infer("iris", flower(), model_version=version)
            assert result.get_response().model_version == version


def test_texts(client):
    texts = np.array(["花", "a b", ""], object)
    result = client.infer("words", [sent("text", texts, "BYTES")])
    assert len(result.as_numpy("label")) == 3


def test_classification(client):
    output = triton.InferRequestedOutput("probabilities", class_count=2)
    result = client.infer("flowers", flower(), outputs=[output])
    [[first, second]] = result.as_numpy("probabilities").tolist()
    assert first.count(b":") == 2
    assert float(first.split(b":")[0]) >= float(second.split(b":")[0])


def test_compression(client):
    for algorithm in ("gzip", "deflate"):
        result = client.infer("iris", flower(), compression_algorithm=algorithm)
        assert result.as_numpy("label").tolist() == [0]


def test_a_large_tensor(client):
    images = np.random.default_rng(0).random((1, 299, 299, 3), np.float32)
    result = client.infer("my_model", [sent("images", images, "FP32")])
    assert result.as_numpy("scores").shape == (1, 1000)


def test_a_stream(client):
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number in range(100):
        client.async_stream_infer(
            "nobody" if number == 50 else "iris", flower(), request_id=str(number)
        )
    found = [answers.get(timeout=30) for _ in range(100)]
    client.stop_stream()
    assert [r.get_response().id for r, e in found if e is None] == [
        str(n) for n in range(100) if n != 50
    ]
    [error] = [e for _, e in found if e is not None]
    assert "there is no model 'nobody'" in error.message()


ERRORS = [
    ("nobody", "", flower, "NOT_FOUND", "there is no model"),
    ("iris", "9", flower, "NOT_FOUND", "no version 9"),
    ("../etc", "", flower, "INVALID_ARGUMENT", "is not a model name"),
    ("iris@nope", "", flower, "NOT_FOUND", "no alias"),
    ("iris", "", lambda: [sent("x", FLOWER.astype("f8"), "FP64")], "INVALID_ARGUMENT", "is FP64"),
    ("iris", "", lambda: [sent("x", FLOWER[0], "FP32")], "INVALID_ARGUMENT", "has shape"),
    ("iris", "", lambda: [sent("z", FLOWER, "FP32")], "INVALID_ARGUMENT", "there is no input"),
]


@pytest.mark.parametrize(("model", "version", "inputs", "code", "words"), ERRORS)
def test_errors(client, model, version, inputs, code, words):
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs(), model_version=version)
    assert caught.value.status() == f"StatusCode.{code}"
    assert words in caught.value.message()


async def test_asyncio(rpc):
    async with aio.InferenceServerClient(rpc) as client:
        assert await client.is_server_live()
        assert await client.is_model_ready("iris")
        result = await client.infer("iris", flower())
        assert result.as_numpy("label").tolist() == [0]

        async def requests():
            for number in range(5):
                yield {"model_name": "iris", "inputs": flower(), "request_id": str(number)}

        found = [
            result.get_response().id
            async for result, error in client.stream_infer(requests())
            if error is None
        ]
        assert found == list("01234")


def test_every_element_type_there_is_a_model_for(client):
    assert {spec.datatype for spec in client.get_model_metadata("pair").inputs} <= {
        dtype.text for dtype in DType
    }
