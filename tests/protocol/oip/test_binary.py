"""NVIDIA's own client over HTTP as it is used most: with tensors in binary."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests import zoo
from tests.answers import bare_error

triton = pytest.importorskip(
    "tritonclient.http", reason="needs tritonclient: pip install 'tritonclient[http]'"
)
aio = pytest.importorskip("tritonclient.http.aio", reason="needs aiohttp")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException

FLOWER = np.array([zoo.FLOWER], np.float32)
HALVES = ("FP16", "BF16")
MIB = 1 << 20


@pytest.fixture
def client(echoes) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{echoes.port}") as opened:
        yield opened


@pytest.fixture
def zoo_client(server) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


def sent(array: np.ndarray, datatype: str, *, binary: bool = True, name: str = "") -> Any:
    tensor = triton.InferInput(name or datatype, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def models(rows: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    every = {name: array for name, array in rows.items() if name != "BF16"}
    return {"every": every, "half": {"BF16": rows["BF16"]}}


def check(result: Any, rows: dict[str, np.ndarray]) -> None:
    for name, array in rows.items():
        found = result.as_numpy(f"{name}_out")
        assert found.shape == array.shape
        if name == "BYTES":
            assert [[bytes(v) if isinstance(v, bytes) else v.encode() for v in row]
                    for row in found.tolist()] == array.tolist()  # fmt: skip
        else:
            assert found.dtype == array.dtype, name
            assert found.tobytes() == array.tobytes(), name


@pytest.mark.parametrize("binary", [True, False], ids=["binary in", "json in"])
@pytest.mark.parametrize("answered", [True, False, None], ids=["binary", "json", "as it comes"])
def test_every_datatype_both_ways(client, rows, binary, answered):
    for model, arrays in models(rows).items():
        inputs = [
            sent(array, name, binary=binary or name in HALVES or name == "BYTES")
            for name, array in arrays.items()
        ]
        outputs = answered if answered is None else [
            triton.InferRequestedOutput(f"{name}_out", binary_data=answered or name in HALVES)
            for name in arrays
        ]  # fmt: skip
        if not binary and model == "every":
            # What JSON has no token for, the client refuses to write.
            arrays = {name: np.ones_like(a) if a.dtype.kind == "f" else a
                      for name, a in arrays.items()}  # fmt: skip
            inputs = [
                sent(array, name, binary=name in HALVES or name == "BYTES")
                for name, array in arrays.items()
            ]
        check(client.infer(model, inputs, outputs=outputs), arrays)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_binary_and_compressed(client, rows, algorithm):
    arrays = {name: np.tile(array, (500, 1)) for name, array in models(rows)["every"].items()}
    result = client.infer(
        "every",
        [sent(array, name) for name, array in arrays.items()],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    check(result, arrays)


def test_a_large_tensor(client, rows):
    arrays = models(rows)["every"] | {"FP32": np.random.default_rng(0).random((MIB // 8, 2), "f4")}
    arrays = {
        name: array if name == "FP32" else np.resize(array, (MIB // 8, 2))
        for name, array in arrays.items()
        if name != "BYTES"
    } | {"BYTES": np.resize(rows["BYTES"], (MIB // 8, 2))}
    result = client.infer(
        "every",
        [sent(array, name) for name, array in arrays.items()],
        outputs=[triton.InferRequestedOutput(f"{name}_out") for name in ("FP32", "INT8", "BYTES")],
    )
    check(result, {name: arrays[name] for name in ("FP32", "INT8", "BYTES")})


def test_classes_in_binary(zoo_client):
    outputs = [triton.InferRequestedOutput("probabilities", class_count=1)]
    result = zoo_client.infer("flowers", [sent(FLOWER, "FP32", name="x")], outputs=outputs)
    assert bytes(result.as_numpy("probabilities")[0][0]).endswith(b":0:setosa")


def test_the_calls_parameters(zoo_client):
    result = zoo_client.infer(
        "iris", [sent(FLOWER, "FP32", name="x")], request_id="7", priority=1, timeout=30_000_000
    )
    assert result.get_response()["id"] == "7"
    assert result.as_numpy("label").tolist() == [0]
    with pytest.raises(InferenceServerException, match=r"\[400\].*keep no state"):
        zoo_client.infer("iris", [sent(FLOWER, "FP32", name="x")], sequence_id=5)


def test_many_at_once(client, rows):
    array = np.tile(rows["BF16"], (1000, 1))
    calls = [client.async_infer("half", [sent(array, "BF16")]) for _ in range(16)]
    for call in calls:
        check(call.get_result(), {"BF16": array})


def test_the_asynchronous_client(echoes, rows):
    async def ask() -> None:
        async with aio.InferenceServerClient(f"127.0.0.1:{echoes.port}") as client:
            assert await client.is_server_ready()
            for model, arrays in models(rows).items():
                inputs = [sent(array, name) for name, array in arrays.items()]
                results = await asyncio.gather(*(client.infer(model, inputs) for _ in range(4)))
                for result in results:
                    check(result, arrays)

    asyncio.run(ask())


def test_a_raw_body(echoes, rows):
    array = rows["BF16"]
    answer = echoes.post(
        "/v2/models/half/infer",
        array.tobytes(),
        headers={"inference-header-content-length": "0"},
    )
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    assert answer.content[length:] == array.tobytes()


def test_rows_of_nothing_and_wrong_lengths(echoes):
    head = (
        b'{"inputs":[{"name":"BF16","shape":[2,2],"datatype":"BF16",'
        b'"parameters":{"binary_data_size":8}}]}'
    )
    path = "/v2/models/half/infer"

    def refused(body: bytes, length: str) -> str:
        headers = {"inference-header-content-length": length}
        return bare_error(echoes.post(path, body, headers=headers), 400)

    good = str(len(head))
    assert "7 bytes of the body are left" in refused(head + bytes(7), good)
    assert "1 bytes of the body are left over" in refused(head + bytes(9), good)
    assert "the body has" in refused(head, str(len(head) + 1))
    assert "expected how many bytes" in refused(head, "many")
    assert "no whole number of 4 bytes" in refused(bytes(6), "0")
    assert "has no JSON form" in bare_error(
        echoes.post(path, head + bytes(8), headers={"inference-header-content-length": good}), 400
    )
