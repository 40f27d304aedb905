"""NVIDIA's tritonclient over HTTP."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import tritonclient.http as triton
from harness import FLOWER, raises, run
from tritonclient.utils import InferenceServerException

from tensors import MODELS, of_iris, same, sent, wanted


def check_live(client: Any) -> None:
    """OIP-REST: `GET /v2/health/live` answers 200"""
    assert client.is_server_live()


def check_ready(client: Any) -> None:
    """OIP-REST: `GET /v2/health/ready` answers 200"""
    assert client.is_server_ready()


def check_model_ready(client: Any) -> None:
    """OIP-REST: `GET /v2/models/M[/versions/V]/ready`"""
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "2")
    assert not client.is_model_ready("nobody")


def check_server_metadata(client: Any) -> None:
    """OIP-REST: `GET /v2`: name, version, extensions"""
    assert client.get_server_metadata()["name"]


def check_model_metadata(client: Any) -> None:
    """OIP-REST: `GET /v2/models/M[/versions/V]`: versions, platform, inputs, outputs"""
    found = client.get_model_metadata("iris", "2")
    assert found["inputs"][0]["name"] == "x"
    assert found["versions"] == ["1", "2"]


def check_model_config(client: Any) -> None:
    """OIP-REST: `GET /v2/models/M/config`, as Triton's ModelConfig"""
    found = client.get_model_config("iris")
    assert found["name"] == "iris"
    assert found["input"][0]["name"] == "x"
    assert found["input"][0]["data_type"] == "TYPE_FP32"


def check_statistics(client: Any) -> None:
    """OIP-REST: `GET /v2/models/M/stats`, `/v2/models/stats`: counts and durations"""
    client.infer("iris", [of_iris(triton, FLOWER)])
    [found] = client.get_inference_statistics("iris", "1")["model_stats"]
    assert found["name"] == "iris"
    assert int(found["inference_count"]) >= 1
    assert int(found["inference_stats"]["success"]["count"]) >= 1
    assert len(client.get_inference_statistics()["model_stats"]) > 1


def check_repository(client: Any) -> None:
    """OIP-REST: `POST /v2/repository/index`, a bare array of names, versions and states"""
    index = client.get_model_repository_index()
    assert {"iris", "pair"} <= {one["name"] for one in index}


def check_json_tensors(client: Any) -> None:
    """OIP-REST: tensors in JSON, flat or nested"""
    for binary in (False,):
        result = client.infer(
            "iris",
            [of_iris(triton, FLOWER, binary=binary)],
            outputs=wanted(triton, "label", "probabilities", binary=binary),
        )
        assert result.as_numpy("label").tolist() == [0]
        assert result.as_numpy("probabilities").dtype == np.float32


def check_binary_tensors(client: Any) -> None:
    """OIP-REST: binary tensors both ways, with `Inference-Header-Content-Length`"""
    result = client.infer(
        "iris", [of_iris(triton, FLOWER)], outputs=wanted(triton, "label", "probabilities")
    )
    assert result.as_numpy("label").tolist() == [0]
    parameters = result.get_response()["outputs"][0]["parameters"]
    assert parameters["binary_data_size"] == 8


def check_binary_by_default(client: Any) -> None:
    """OIP-REST: without `outputs` the client asks `binary_data_output`, and is answered so"""
    result = client.infer("iris", [of_iris(triton, FLOWER)])
    assert all("binary_data_size" in o["parameters"] for o in result.get_response()["outputs"])
    assert result.as_numpy("probabilities").shape == (1, 3)


def check_mixed_outputs(client: Any) -> None:
    """OIP-REST: an output's `binary_data` overrides the request's `binary_data_output`"""
    outputs = [
        triton.InferRequestedOutput("label", binary_data=False),
        triton.InferRequestedOutput("probabilities", binary_data=True),
    ]
    result = client.infer("iris", [of_iris(triton, FLOWER)], outputs=outputs)
    label, scores = result.get_response()["outputs"]
    assert label["data"] == [0]
    assert "binary_data_size" in scores["parameters"]


def check_every_datatype_binary(client: Any) -> None:
    """OIP-REST: BOOL, UINT8–64, INT8–64, FP16/32/64, BF16 and BYTES as binary tensors"""
    for model, tensors in MODELS.items():
        result = client.infer(model, [sent(triton, kind, array) for kind, array in tensors.items()])
        for kind, array in tensors.items():
            same(result.as_numpy(f"out_{kind.lower()}"), array, kind)


def check_every_datatype_json(client: Any) -> None:
    """OIP-REST: every datatype but FP16 and BF16 in JSON; these two travel binary"""
    tensors = MODELS["types"]
    inputs = [sent(triton, k, array, binary=k == "FP16") for k, array in tensors.items()]
    names = [kind for kind in tensors if kind != "FP16"]
    outputs = wanted(triton, *(f"out_{kind.lower()}" for kind in names), binary=False)
    result = client.infer("types", inputs, outputs=outputs)
    for kind in names:
        same(result.as_numpy(f"out_{kind.lower()}"), tensors[kind], kind)


def check_bytes(client: Any) -> None:
    """OIP-REST: BYTES elements are a length and bytes, in any script"""
    texts = np.array(["这支球队赢得了足球冠军".encode()], np.object_)
    tensor = triton.InferInput("text", [1], "BYTES").set_data_from_numpy(texts)
    assert client.infer("words", [tensor]).as_numpy("label").tolist() == ["体育".encode()]


def check_id(client: Any) -> None:
    """OIP-REST: the request's `id` comes back"""
    result = client.infer("iris", [of_iris(triton, FLOWER)], request_id="七")
    assert result.get_response()["id"] == "七"


def check_requested_outputs(client: Any) -> None:
    """OIP-REST: the requested outputs alone are answered"""
    result = client.infer("iris", [of_iris(triton, FLOWER)], outputs=wanted(triton, "label"))
    assert [one["name"] for one in result.get_response()["outputs"]] == ["label"]


def check_classification(client: Any) -> None:
    """OIP-REST: `classification = N` gives BYTES `value:index[:label]`, best first"""
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    result = client.infer("flowers", [of_iris(triton, FLOWER)], outputs=outputs)
    first, second = result.as_numpy("probabilities")[0]
    assert first.endswith(b":0:setosa")
    assert float(first.split(b":")[0]) > float(second.split(b":")[0])


def check_parameters(client: Any) -> None:
    """OIP-REST: `priority`, `timeout` and the reserved sequence parameters are understood"""
    result = client.infer("iris", [of_iris(triton, FLOWER)], priority=1, timeout=10_000_000)
    assert result.as_numpy("label").tolist() == [0]


def check_versions(client: Any) -> None:
    """OIP-REST: `POST /v2/models/M/versions/V/infer`"""
    for version, label in (("", 0), ("1", 0), ("2", 2)):
        result = client.infer("iris", [of_iris(triton, FLOWER)], model_version=version)
        assert result.as_numpy("label").tolist() == [label]


def check_gzip(client: Any) -> None:
    """OIP-REST: gzip both ways"""
    _compressed(client, "gzip")


def check_deflate(client: Any) -> None:
    """OIP-REST: deflate both ways"""
    _compressed(client, "deflate")


def _compressed(client: Any, algorithm: str) -> None:
    result = client.infer(
        "iris",
        [of_iris(triton, FLOWER)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert result.as_numpy("label").tolist() == [0]


def check_large(client: Any) -> None:
    """OIP-REST: a binary tensor of a megabyte"""
    array = np.arange(1 << 18, dtype=np.float32).reshape(-1, 2)
    tensors = [
        triton.InferInput(name, list(array.shape), "FP32").set_data_from_numpy(array)
        for name in ("a", "b")
    ]
    result = client.infer("pair", tensors)
    same(result.as_numpy("sum"), array + array, "FP32")


def check_async(client: Any) -> None:
    """OIP-REST: many requests at once on one client (`async_infer`)"""
    calls = [client.async_infer("iris", [of_iris(triton, FLOWER)]) for _ in range(32)]
    assert all(call.get_result().as_numpy("label").tolist() == [0] for call in calls)


def check_raw_body(client: Any) -> None:
    """OIP-REST: a body made by `generate_request_body`, an answer read by `parse_response_body`"""
    body, size = triton.InferenceServerClient.generate_request_body([of_iris(triton, FLOWER)])
    assert size
    answer = client._post(
        "v2/models/iris/infer",
        request_body=body,
        headers={"Inference-Header-Content-Length": size},
        query_params=None,
    )
    header = answer.get("Inference-Header-Content-Length")
    result = triton.InferenceServerClient.parse_response_body(
        answer.read(), header_length=int(header)
    )
    assert result.as_numpy("label").tolist() == [0]


def check_unknown_model(client: Any) -> None:
    """OIP-REST: an unknown model or version is 404"""
    call = lambda: client.infer("nobody", [of_iris(triton, FLOWER)])  # noqa: E731
    raises(InferenceServerException, "[404]", call)
    call = lambda: client.infer("iris", [of_iris(triton, FLOWER)], model_version="9")  # noqa: E731
    raises(InferenceServerException, "[404]", call)


def check_wrong_requests(client: Any) -> None:
    """OIP-REST: an unknown input, datatype, shape or output is 400 with a sentence"""
    wrong = triton.InferInput("y", [1, 4], "FP32")
    wrong.set_data_from_numpy(np.array([FLOWER], np.float32))
    raises(InferenceServerException, "[400]", lambda: client.infer("iris", [wrong]))
    wrong = triton.InferInput("x", [1, 4], "INT32")
    wrong.set_data_from_numpy(np.zeros((1, 4), np.int32))
    raises(InferenceServerException, "[400]", lambda: client.infer("iris", [wrong]))
    wrong = triton.InferInput("x", [1, 3], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 3), np.float32))
    raises(InferenceServerException, "[400]", lambda: client.infer("iris", [wrong]))
    outputs = wanted(triton, "nothing")
    call = lambda: client.infer("iris", [of_iris(triton, FLOWER)], outputs=outputs)  # noqa: E731
    raises(InferenceServerException, "[400]", call)


if __name__ == "__main__":
    run(
        globals(),
        lambda address: closing(triton.InferenceServerClient(address, concurrency=8)),
    )
